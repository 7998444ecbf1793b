"""Reads settings files that may hold anything."""

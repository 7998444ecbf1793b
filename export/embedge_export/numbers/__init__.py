"""Arithmetic on weights: the same bits on every CPU."""

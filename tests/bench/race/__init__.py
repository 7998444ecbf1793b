"""Contenders taking turns at the same work: `make bench`."""

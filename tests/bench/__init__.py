"""Benchmarks, as one package: `make bench` and its sisters run its modules."""

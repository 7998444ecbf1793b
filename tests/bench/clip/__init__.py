"""jina-clip-v2's towers against others: `make bench-clip`."""

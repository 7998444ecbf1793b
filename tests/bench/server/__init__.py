"""embedge serve under load, against other servers of the same weights: `make bench-server`."""

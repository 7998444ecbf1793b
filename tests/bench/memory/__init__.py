"""What it takes to start and to hold tasks: `make bench-memory`."""

"""The protocols that clients speak, one a file; none imports another."""

"""The commands, one a file. No command imports another."""

"""What this machine has: cores, memory, caches."""

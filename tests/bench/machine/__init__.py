"""What a machine is, and what a process holds of its memory."""

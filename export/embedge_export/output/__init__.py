"""Where an export writes: the destination, a stage, the pack."""

"""A model folder or hub id, opened and checked before any weight is read."""

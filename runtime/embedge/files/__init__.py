"""Files that may hold anything, or be somebody else's: read within bounds, written whole."""

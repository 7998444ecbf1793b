"""The gate: graphs against the truth, and what is kept finer where they lose too much."""

"""A real encoder, all-MiniLM-L6-v2, against the libraries that people run it with."""

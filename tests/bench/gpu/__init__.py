"""`make bench-gpu`: embedge on a GPU, in parts of a minute or two; see run.py."""

"""A source's tokenizer: its files, held against what the runtime computes."""

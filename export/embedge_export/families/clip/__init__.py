"""jina-clip-v2: a BERT-like text tower and an EVA02 vision tower, whose vectors are compared."""

"""BERT-like encoders: BERT, RoBERTa, XLM-RoBERTa, jina-embeddings-v3, jina-clip-v2's text tower."""

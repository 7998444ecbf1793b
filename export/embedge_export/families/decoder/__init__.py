"""Qwen3, Qwen2 and Llama decoders, and EuroBERT."""

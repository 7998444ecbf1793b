"""Texts to token ids: checked, tokenized, cut."""

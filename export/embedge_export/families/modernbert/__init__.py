"""ModernBERT encoders."""

"""Data sets of any size in parts: Parquet, Arrow, JSON, tables and images in, part files out."""

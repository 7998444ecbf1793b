"""Data sets of any size in parts: Parquet, Arrow, JSON lines and tables in, part files out."""

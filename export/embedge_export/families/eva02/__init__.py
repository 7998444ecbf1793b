"""EVA02 vision towers, as in jina-clip-v2."""

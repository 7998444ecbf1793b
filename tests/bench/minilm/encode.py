"""Sentence Transformers' vectors of texts, for a process that cannot import it.

Started in the environment of the peers as `python -m bench.minilm.encode MODEL TEXTS OUT`: a JSON
list of texts, and a .npy file of float32 (texts, width), as the library gives them.
"""

import json
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """Encodes, as the command line says."""
    from sentence_transformers import SentenceTransformer

    source, texts, out = sys.argv[1:4]
    model = SentenceTransformer(source, device="cpu")
    vectors = model.encode(json.loads(Path(texts).read_text()), show_progress_bar=False)
    np.save(out, np.asarray(vectors, np.float32))


if __name__ == "__main__":
    main()

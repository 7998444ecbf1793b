"""Runs on the machine under test: a pack's int8 vectors, as embedge chooses and without its choice.

    python worker.py PACK TASK TEXTS.json OUT.npz [doctor]

Writes `chosen` (all texts in one call), `alone` (each in a call of its own), `plain` (the kernel
that ONNX Runtime takes by itself, where that is another) and `kernel` (what embedge chose); prints
what `embedge doctor` says, which embeds the gate's texts: too slow for a larger model.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np

from embedge import Embedder, cli
from embedge.choice import Choice
from embedge.engine import kernels


def main(pack: str, task: str, texts_file: str, out: str, doctor: str = "") -> None:
    """See the module."""
    texts = json.loads(Path(texts_file).read_text(encoding="utf-8"))
    with Embedder(pack, precision="int8", threads=1) as embedder:
        chosen = embedder.encode(texts, task=task)
        alone = np.stack([embedder.encode(text, task=task) for text in texts])
    kernel, plain = kernels.integer_kernel().value, chosen
    if kernel != kernels.EXACT:
        unasked = Choice(kernels.EXACT, "taken unasked, to see what happens")
        with (
            mock.patch("embedge.engine.session_options.integer_kernel", return_value=unasked),
            Embedder(pack, precision="int8", threads=1) as embedder,
        ):
            plain = embedder.encode(texts, task=task)
    np.savez(out, chosen=chosen, alone=alone, plain=plain, kernel=kernel)
    if doctor:
        cli.main(["doctor", pack, "--precision", "int8", "--threads", "1"])


if __name__ == "__main__":
    main(*sys.argv[1:])

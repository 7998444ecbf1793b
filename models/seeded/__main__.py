"""The command line: `python models/seeded FOLDER …`, or `python -m seeded` beside the package.

Takes a folder to write and what to write there; prints the folder, or the error and exits with 1.
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # started as a folder: Python then looks inside the package, not beside it
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from seeded import (
    SIZES,
    bert_layouts,
    eva02,
    modernbert,
    write_bert,
    write_decoder,
    write_eurobert,
    write_jina_clip,
    write_model2vec,
    write_modernbert,
    write_v3,
    write_v5_text_nano,
    write_v5_text_small,
)

STATIC = "model2vec"
ENCODERS = (
    "v3",
    "bert",
    "distilbert",
    "mpnet",
    "modernbert",
    "jina-clip-v2",
)  # tiny or full, without the other options


def main() -> None:
    """Writes one model, as the command line says."""
    parser = argparse.ArgumentParser(
        prog="seeded", description="Write a seeded random model in a real layout."
    )
    parser.add_argument("folder", type=Path, help="folder to write; must not exist")
    parser.add_argument("--model", choices=[*SIZES, *ENCODERS, STATIC], default="v5-text-small")
    parser.add_argument("--size", choices=("tiny", "demo", "full"), default="tiny")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json (default: a small BPE)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=1, help="weight files (default: 1)")
    parser.add_argument("--outliers", action="store_true", help="add activation outliers")
    arguments = vars(parser.parse_args())
    folder, model = arguments.pop("folder"), arguments.pop("model")
    try:
        if model == STATIC:
            _write_static(folder, **arguments)
        elif model in ENCODERS:
            _write_encoder(folder, model, **arguments)
        elif model == "v5-text-small":
            write_v5_text_small(folder, **arguments)
        elif model == "v5-text-nano":
            write_v5_text_nano(folder, **arguments)
        elif model == "eurobert":
            write_eurobert(folder, **arguments)
        else:
            write_decoder(folder, model, **arguments)
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(folder)


def _write_static(
    folder: Path,
    *,
    size: str,
    tokenizer: Path | None,
    seed: int,
    shards: int,
    outliers: bool,
) -> None:
    if size == "demo" or shards != 1 or outliers:
        raise ValueError(f"{STATIC} is written tiny or full, in one file, without outliers")
    width = 256 if size == "full" else 32
    write_model2vec(folder, width=width, seed=seed, tokenizer=tokenizer)


def _write_encoder(
    folder: Path,
    model: str,
    *,
    size: str,
    tokenizer: Path | None,
    seed: int,
    shards: int,
    outliers: bool,
) -> None:
    if size == "demo" or shards != 1 or outliers:
        raise ValueError(f"{model} is written tiny or full, in one file, without outliers")
    text = bert_layouts.FULL if size == "full" else bert_layouts.EncoderSize()
    if model == "v3":
        write_v3(folder, size=text, tokenizer=tokenizer, seed=seed)
    elif model in ("bert", "distilbert", "mpnet"):
        write_bert(folder, model, size=text, tokenizer=tokenizer, seed=seed)
    elif model == "modernbert":
        text = bert_layouts.EncoderSize(layers=4) if size == "tiny" else modernbert.FULL
        write_modernbert(folder, size=text, tokenizer=tokenizer, seed=seed, window=128)
    else:
        image = eva02.FULL if size == "full" else eva02.VisionSize()
        write_jina_clip(folder, text=text, vision=image, tokenizer=tokenizer, seed=seed)


if __name__ == "__main__":
    main()

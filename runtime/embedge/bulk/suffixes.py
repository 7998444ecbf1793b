"""What a file's name says it holds, where that is neither texts to embed nor vectors as we write.

A table read as lines gives vectors of commas without a word, and JSON lines called `.parquet` are
found out by the next program only. Takes names, gives sentences; opens nothing.
"""

from pathlib import Path

from embedge.errors import InputError, OptionError
from embedge.images.names import is_image_name

_TABLES = {".arrow", ".csv", ".feather", ".json", ".ods", ".parquet", ".tsv", ".xls", ".xlsx"}
_TABLES |= {".db", ".duckdb", ".sqlite", ".sqlite3"}
_DOCUMENTS = {".doc", ".docx", ".epub", ".ipynb", ".odt", ".pdf", ".ppt", ".pptx", ".rtf"}
_ARRAYS = {".h5", ".hdf5", ".mat", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".safetensors"}
_ARCHIVES = {".7z", ".bz2", ".gz", ".lz4", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst"}

JSON_LINES = (".jsonl", ".ndjson")
_READ = "embed reads lines of text, JSON lines (.jsonl, .ndjson) and whole text files"
_WRITTEN = "embed writes JSON lines (.jsonl) and NumPy arrays (.npy)"


def refuse_as_texts(path: str) -> None:
    """Refuses a file whose name says that it holds no lines of text.

    Raises:
        InputError: what it is instead, and what to do.
    """
    suffix = Path(path).suffix.lower()
    if is_image_name(Path(path)):
        raise InputError(f"{path} is an image by its name; add --images")
    if suffix in _TABLES | _DOCUMENTS | _ARRAYS | _ARCHIVES | {".npy"}:
        raise InputError(
            f"{path} is a {suffix} file by its name, and {_READ}; convert it, or give "
            "--input-format to read it as it stands"
        )


def output_format(path: str, named: str | None) -> str:
    """The format, "jsonl" or "npy", by `--format`, else by the name of the output.

    Raises:
        OptionError: the name says another format.
    """
    suffix = Path(path).suffix.lower()
    said = "npy" if suffix == ".npy" else "jsonl" if suffix in JSON_LINES else None
    if named is not None and said not in (None, named):
        raise OptionError(f"--out {path} and --format {named} are two formats; leave one out")
    others = _TABLES | _DOCUMENTS | _ARRAYS | _ARCHIVES
    if named is None and (suffix in others or is_image_name(Path(path))):
        raise OptionError(
            f"--out {path} is a {suffix} file by its name, and {_WRITTEN}; give such a name, or "
            "--format to write one under this name"
        )
    return named or said or "jsonl"

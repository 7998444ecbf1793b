"""What a file's name says it holds, where that is neither texts to embed nor vectors as we write.

A table read as lines gives vectors of commas without a word, and JSON lines called `.parquet` are
noticed by the next program only. Takes names; opens nothing.
"""

from pathlib import Path

from embedge.images.names import is_image_name

_TABLES = {".arrow", ".csv", ".feather", ".json", ".ods", ".parquet", ".tsv", ".xls", ".xlsx"}
_TABLES |= {".db", ".duckdb", ".sqlite", ".sqlite3"}
_DOCUMENTS = {".doc", ".docx", ".epub", ".ipynb", ".odt", ".pdf", ".ppt", ".pptx", ".rtf"}
_ARRAYS = {".h5", ".hdf5", ".mat", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".safetensors"}
_ARCHIVES = {".7z", ".bz2", ".gz", ".lz4", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst"}

JSON_LINES = (".jsonl", ".ndjson")
# Formats of input that a name says by itself.
BY_SUFFIX = {**dict.fromkeys(JSON_LINES, "jsonl"), ".json": "json", ".csv": "csv", ".tsv": "tsv"}

ARRAY = ".npy"


def suffix_of(path: str) -> str:
    """The suffix of a name in lower case, with its dot; "" if there is none."""
    return Path(path).suffix.lower()


def holds_something_else(path: str) -> bool:
    """Whether a file is named as neither texts nor vectors: a table, an archive, an image."""
    others = _TABLES | _DOCUMENTS | _ARRAYS | _ARCHIVES
    return suffix_of(path) in others or is_image_name(Path(path))

"""The JSON files of a model folder, as values or as one error of the exporter.

Takes a path; knows no field of any file.
"""

from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge_export.reading.files import read_json_file


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file.

    Raises:
        SourceError: it cannot be read, or is not a JSON object.
    """
    try:
        value = load_json(path)
    except FileNotFoundError:
        return {}
    if not isinstance(value, dict):
        raise SourceError(f"{path} is not a JSON object; download it again")
    return value


def load_json(path: Path) -> Any:
    """Any JSON value.

    Raises:
        FileNotFoundError: there is no such file.
        SourceError: it cannot be read, or is not JSON.
    """
    try:
        return read_json_file(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror or error}; download it again"
        ) from None
    except RecursionError:
        raise SourceError(f"{path} is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise SourceError(f"{path} is not JSON: {error}; download it again") from None

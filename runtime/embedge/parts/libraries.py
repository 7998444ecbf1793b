"""pyarrow, which the extra `bulk` installs: one error where it is missing."""

import contextlib
from collections.abc import Iterator

from embedge.errors import MissingExtraError


@contextlib.contextmanager
def needs_pyarrow() -> Iterator[None]:
    """Around the imports of pyarrow.

    Raises:
        MissingExtraError: it is not installed; it is an ImportError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "pyarrow":
            raise
        raise MissingExtraError(
            'Parquet needs pyarrow, which is not installed; `pip install "embedge[bulk]"`'
        ) from None

"""A framework that is not installed: one error, which names the package to install."""

import contextlib
from collections.abc import Iterator

from embedge.errors import MissingExtraError


@contextlib.contextmanager
def needs(library: str, *, package: str, install: str | None = None) -> Iterator[None]:
    """Around the imports of a framework or of a store's library.

    Args:
        library: the module that is imported.
        package: what pip installs it from.
        install: what to install where it is missing, if more than the package.

    Raises:
        MissingExtraError: the library is not installed; it is an ImportError.

    >>> with needs("no_framework", package="no-framework"):
    ...     import no_framework
    Traceback (most recent call last):
    embedge.errors.MissingExtraError: no-framework is not installed; `pip install no-framework`
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != library:
            raise  # it is there, and lacks something itself
        raise MissingExtraError(
            f"{package} is not installed; `pip install {install or package}`"
        ) from None

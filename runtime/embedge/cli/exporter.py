"""`embedge_export`, for the commands that make packs or go back to a pack's source.

The one place where the runtime imports it, and only when it is asked for: the runtime works
without it.
"""

import importlib
from typing import Any

from embedge.errors import EmbedgeError, MissingExtraError


def load_exporter(name: str) -> Any:
    """A public name of `embedge_export`.

    Raises:
        MissingExtraError: it, or what it needs, is not installed.
    """
    try:
        return getattr(importlib.import_module("embedge_export"), name)
    except EmbedgeError:  # its own sentence
        raise
    except ImportError as error:
        raise MissingExtraError(
            f"making and checking packs needs the export extra ({error}); "
            'install it with: pip install "embedge[export]"'
        ) from error

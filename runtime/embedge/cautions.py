"""Warnings that cost nobody their result.

Python writes a warning to sys.stderr, and fails where a host program closed that or put an object
of its own there. The vectors of a call are worth more than a word about them.
"""

import logging
import warnings

logger = logging.getLogger(__name__)


def warn(message: str, category: type[Warning], *, stacklevel: int) -> None:
    """`warnings.warn`, of which only the warning itself can be raised, by the host's filters."""
    try:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
    except Warning:
        raise
    except Exception:
        logger.debug("a warning could not be shown: %s", message)

"""What torch, transformers and Optimum print and warn of, kept from a user's terminal.

They speak of their own insides: a traced branch, a class that will move. What a user has to know
comes as an exception, which becomes a sentence of ours.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_TALKATIVE = ("optimum", "torch", "torch.onnx", "transformers")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence for as long as it is open; all is put back afterwards."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    nowhere = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

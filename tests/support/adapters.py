"""The adapters of embedge.integrations, and the library that each imports when it is imported.

None of these libraries is in the environment of `make test`; `make test-integrations` has them.
"""

from pathlib import Path

import embedge.integrations

LIBRARIES = {
    "chroma": "chromadb",
    "daft": "daft",
    "haystack": "haystack",
    "langchain": "langchain_core",
    "llama_index": "llama_index",
    "mteb": "mteb",
    "sklearn": "sklearn",
}
PLACE = "embedge.integrations"
FOLDER = Path(embedge.integrations.__path__[0])
SHARED = {"libraries", "model"}  # what the adapters have in common


def is_adapter(module: str) -> bool:
    """Whether a module imports one of the libraries."""
    place, _, name = module.rpartition(".")
    return place == PLACE and name in LIBRARIES

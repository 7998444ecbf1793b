"""Search in folders of texts and images, with an index on disk that is updated rather than rebuilt.

>>> from embedge import Embedder
>>> from embedge.search import SearchIndex
>>> with Embedder("path/to/pack") as embedder:                         # doctest: +SKIP
...     with SearchIndex("notes.sqlite", embedder) as index:
...         index.update("notes/")
...         hits = index.search("how are packs verified?", top_k=3)
"""

from embedge.search.index import Hit, SearchIndex, default_place, find_root
from embedge.search.update import UpdateProgress, UpdateReport

__all__ = ["Hit", "SearchIndex", "UpdateProgress", "UpdateReport", "default_place", "find_root"]

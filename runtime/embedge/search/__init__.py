"""Search in folders of texts and images, and in records, with an index that is kept up to date.

>>> from embedge import Embedder, SearchIndex
>>> with Embedder() as embedder, SearchIndex("notes.sqlite", embedder) as index:
...     report = index.update("notes/")
...     hits = index.search("when does the passport office open?", top_k=3)
>>> report.added, hits[0].path.name, hits[0].line
(1, 'travel.txt', 1)
"""

from embedge.search.additions import AdditionReport
from embedge.search.hits import Hit
from embedge.search.index import SearchIndex
from embedge.search.places import default_place, find_root, find_roots
from embedge.search.tally import UpdateProgress, UpdateReport

__all__ = [
    "AdditionReport",
    "Hit",
    "SearchIndex",
    "UpdateProgress",
    "UpdateReport",
    "default_place",
    "find_root",
    "find_roots",
]

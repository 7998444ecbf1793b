"""A thread that answers the last question that was asked; older ones are left out.

It has an embedder of its own, of ordinary priority: somebody waits for the answer.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from desk_search.indexer import place_of
from desk_search.state import Event, Found, Opened, Problem
from embedge import (
    Embedder,
    EmbedgeError,
    IndexFileError,
    IndexOutdatedError,
    IndexRowsError,
    SearchIndex,
)

MOST = 30  # hits
KINDS: dict[str, Literal["text", "image"] | None] = {
    "all": None,
    "texts": "text",
    "images": "image",
}
# Seconds until an index that is made again is opened again, doubled each time that it is in vain.
AGAIN, MOST_PAUSE = 1.0, 60.0


class Searcher:
    """Answers questions. All methods return at once.

    Args:
        data: the folder of the index.
        pack: the folder of the pack; None for the bundled one.
        tell: called with events, in this thread.
        repair: called where the index is damaged or outdated; an update makes it whole.
    """

    def __init__(
        self,
        data: Path,
        pack: Path | None,
        tell: Callable[[Event], None],
        repair: Callable[[], None],
    ) -> None:
        self._data, self._pack, self._tell, self._repair = data, pack, tell, repair
        self._changed = threading.Condition()  # guards what follows
        self._question: tuple[str, str] | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="searcher", daemon=True)
        self._thread.start()

    def ask(self, query: str, kind: str = "all") -> None:
        """Answers this query next; `kind` is one of KINDS."""
        with self._changed:
            self._question = (query, kind)
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Waits for the thread; whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            with Embedder(self._pack) as embedder:
                manifest = embedder.manifest
                self._tell(Opened(manifest.model_id, manifest.image is not None))
                embedder.encode_query("ready")  # the network is loaded before the first question
                pause = AGAIN
                while not self._closing:
                    try:
                        with SearchIndex(place_of(embedder, self._data), embedder) as index:
                            self._answer_all(index)
                    except (IndexFileError, IndexOutdatedError):
                        self._repair()  # it says why
                        with self._changed:
                            self._changed.wait_for(lambda: self._closing, pause)
                        pause = min(2 * pause, MOST_PAUSE)
        except EmbedgeError as error:
            self._tell(Problem(str(error), fatal=True))

    def _answer_all(self, index: SearchIndex) -> None:
        while (question := self._next()) is not None:
            query, kind = question
            begin = time.perf_counter()
            try:
                hits = index.search(query, top_k=MOST, kind=KINDS[kind])
            except IndexRowsError as error:
                self._tell(Problem(str(error)))
                self._repair()
            else:
                self._tell(Found(query, tuple(hits), time.perf_counter() - begin))

    def _next(self) -> tuple[str, str] | None:
        """Waits for a question; None at the end."""
        with self._changed:
            while self._question is None and not self._closing:
                self._changed.wait()
            question, self._question = self._question, None
            return None if self._closing else question

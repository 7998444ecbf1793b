"""Adds an application's records to an index, a batch at a time.

Takes a `Store`, what embeds passages, and records as the caller has them; gives an
`AdditionReport`. Each batch is kept in one transaction, so that an addition stopped at any moment
has kept whole records only. Knows no SQL.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from embedge.errors import CancelledError, InputError
from embedge.options import shown
from embedge.search.records import Record, RefusedRecordError
from embedge.search.store import Store
from embedge.search.update import MOST, Embed

Refuse = Callable[[int, str], None]
Numbered = dict[bytes, tuple[int, Record]]  # key -> (which of the records it was, the record)


@dataclass(frozen=True, slots=True)
class AdditionReport:
    """What `SearchIndex.add` did, in records.

    Attributes:
        added: new ones.
        replaced: those whose text or metadata has changed.
        unchanged: those that were there already, and nothing was embedded for them.
        refused: (index, reason) of those that cannot be kept, by their place among those that were
            passed, from 0. What the index holds under their ids is as it was.
    """

    added: int
    replaced: int
    unchanged: int
    refused: tuple[tuple[int, str], ...]


def add(
    store: Store,
    embed: Embed,
    values: Iterable[object],
    *,
    progress: Callable[[int], None] | None,
    cancel: threading.Event | None,
) -> AdditionReport:
    """Adds records; see `SearchIndex.add`."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(
            f'records is {shown(values)}; pass a list of {{"id": …, "text": …, "metadata": …}}'
        )
    refused: list[tuple[int, str]] = []
    added = replaced = unchanged = 0
    for batch, count in _batches(values, lambda index, reason: refused.append((index, reason))):
        if cancel is not None and cancel.is_set():
            raise CancelledError("cancelled; the records before this batch are in the index")
        before = len(refused)
        new, changed = _keep(store, embed, batch, refused, cancel)
        added, replaced = added + new, replaced + changed
        unchanged += len(batch) - new - changed - (len(refused) - before)
        if progress is not None:
            progress(count)
    store.complete()
    return AdditionReport(added, replaced, unchanged, tuple(sorted(refused)))


def _batches(values: Iterable[object], refuse: Refuse) -> Iterator[tuple[Numbered, int]]:
    """Sound records, as many as have MOST passages, with the number of all so far.

    Of several with one id in a batch, the last one.
    """
    batch: Numbered = {}
    load = count = 0
    for index, value in enumerate(values):
        count = index + 1
        try:
            record = Record.of(value)
        except RefusedRecordError as error:
            refuse(index, str(error))
            continue
        batch[record.key] = (index, record)
        load += len(record.passages)
        if load >= MOST:
            yield batch, count
            batch, load = {}, 0
    if batch:
        yield batch, count


def _keep(
    store: Store,
    embed: Embed,
    batch: Numbered,
    refused: list[tuple[int, str]],
    cancel: threading.Event | None,
) -> tuple[int, int]:
    """Embeds what a batch lacks and keeps it; gives how many are new, and how many were changed."""
    waiting = {record.key: record for record in store.changed_records(r for _, r in batch.values())}
    while True:
        texts = store.missing(text for r in waiting.values() for _, text in r.passages)
        reasons: dict[int, str] = {}
        vectors = embed(texts, on_error=reasons.__setitem__, progress=_ignore, cancel=cancel)
        bad = {texts[index]: reason for index, reason in reasons.items()}
        for key, record in list(waiting.items()) if bad else ():
            found = [(line, bad[text]) for line, text in record.passages if text in bad]
            if found:
                line, reason = found[0]
                refused.append((batch[key][0], f"line {line} of its text: {reason}"))
                del waiting[key]
        good = [index for index in range(len(texts)) if index not in reasons]
        needed = {text for record in waiting.values() for _, text in record.passages}
        good = [index for index in good if texts[index] in needed]
        kept = store.put_records(waiting.values(), [texts[i] for i in good], vectors[good])
        if kept is not None:
            return kept


def _ignore(*_: int) -> None:
    pass

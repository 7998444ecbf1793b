"""The truth of a network that is not written here: torch, through transformers, in float32.

A text at a time, so that no padding is involved. Torch sums in an order of its own on each CPU, so
that calibrated integers may differ between machines in a last digit; the gate measures each.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedge_export.numbers.sensitivity import TABLE, Disturbance
from embedge_export.tensors.weights import Weights
from embedge_export.truth import Array, Observer

if TYPE_CHECKING:
    from embedge_export.families.optimum.network import Network

Ids = NDArray[np.int32]


def text_rows(
    network: "Network",
    weights: Weights,
    texts: Sequence[Ids],
    *,
    steps: int,
    advance: Callable[[str], None] = lambda label: None,
    observe: Observer | None = None,
    disturb: Disturbance | None = None,
) -> Array:
    """The rows of texts, one below the other: float32 (tokens, hidden).

    Args:
        network: in torch.
        weights: of a task, its adapter merged in.
        texts: token ids, one array (tokens,) a text, at least one token each.
        steps: how often `advance` is called.
        advance: called with a label.
        observe: called with each linear's weight key and the rows that it reads, (tokens, in).
        disturb: called with each linear's name and what it gives, (tokens, out); what it returns is
            taken instead. All texts run at once then, padded.
    """
    with network.holding(weights):
        if disturb is not None:
            return _disturbed(network, texts, disturb)
        if observe is None:
            return _one_by_one(network, texts, steps, advance)
        seen = _Seen()
        with network.reading(seen.add):
            rows = _one_by_one(network, texts, steps, advance, seen.end_text)
        seen.hand_over(observe)
        return rows


def _one_by_one(
    network: "Network",
    texts: Sequence[Ids],
    steps: int,
    advance: Callable[[str], None],
    end_text: Callable[[], None] = lambda: None,
) -> Array:
    found: list[Array] = []
    for numbers in np.array_split(np.arange(len(texts)), steps):
        advance(f"reference: texts in torch, {len(found)} of {len(texts)} done")
        for number in numbers:
            found.append(network.rows(texts[number][None])[0])
            end_text()
    return np.concatenate(found)


def _disturbed(network: "Network", texts: Sequence[Ids], disturb: Disturbance) -> Array:
    """All texts in one padded batch: noise is put where rows of all texts stand in a row."""
    longest = max(map(len, texts))
    ids = np.zeros((len(texts), longest), np.int32)
    mask = np.zeros((len(texts), longest), np.int64)
    for place, text in enumerate(texts):
        ids[place, : len(text)], mask[place, : len(text)] = text, 1
    taken = mask.astype(bool)

    def change(name: str, result: Any) -> Any:
        if tuple(result.shape[:2]) != ids.shape:  # of no token: of places alone, say
            return result
        values = result.numpy().copy()
        values[taken] = disturb(name, values[taken])
        return result.new_tensor(values)

    with network.changing(TABLE, change):
        return np.asarray(network.rows(ids, mask)[taken], np.float32)


class _Seen:
    """The rows that linears read, text after text; those that read the same ones share them."""

    def __init__(self) -> None:
        self._parts: dict[str, list[int]] = {}  # of each linear, numbers of arrays
        self._arrays: list[Array] = []
        self._text: dict[int, tuple[Any, int]] = {}  # tensors of this text, kept for their ids

    def add(self, name: str, tensor: Any) -> None:
        """Notes what a linear reads: (…, in)."""
        if id(tensor) not in self._text:
            rows = tensor.detach().reshape(-1, tensor.shape[-1]).numpy()
            self._text[id(tensor)] = (tensor, len(self._arrays))
            self._arrays.append(np.array(rows, np.float32))  # torch may write over its own
        self._parts.setdefault(name, []).append(self._text[id(tensor)][1])

    def end_text(self) -> None:
        """Lets go of the tensors of a text."""
        self._text.clear()

    def hand_over(self, observe: Observer) -> None:
        """Calls `observe` with all rows of each linear."""
        joined: dict[tuple[int, ...], Array] = {}
        for name, numbers in self._parts.items():
            key = tuple(numbers)
            if key not in joined:
                joined[key] = np.concatenate([self._arrays[number] for number in numbers])
            observe(f"{name}.weight", joined[key])

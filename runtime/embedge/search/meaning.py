"""What determines the vectors of an index, in words that are kept in it; and who made it.

Takes an embedder and how it is called, gives names and values: where one of them differs, vectors
would not match. The maker is the part that two indexes of one folder may differ in.
"""

from collections.abc import Mapping
from typing import NamedTuple

from embedge.calls import Call, alias_options
from embedge.embedder import Embedder
from embedge.engine.kernels import integer_kernel
from embedge.search.passages import SPLITTING

DOCUMENTS = "retrieval.passage"  # the alias whose task and prompt passages are embedded with


class Maker(NamedTuple):
    """The model, the task and the precision that made an index."""

    model: str  # its id, a space, and the fingerprint of the pack
    task: str
    precision: str

    @property
    def model_id(self) -> str:
        """The model's id alone."""
        return self.model.rpartition(" ")[0]


def call_of(embedder: Embedder, task: str | None, truncate_dim: int | None = None) -> Call:
    """How passages are embedded."""
    manifest = embedder.manifest
    return Call.of(
        manifest, **alias_options(manifest, DOCUMENTS, task=task), truncate_dim=truncate_dim
    )


def meaning_of(embedder: Embedder, call: Call) -> dict[str, str]:
    """What determines the vectors, the most telling first."""
    manifest = embedder.manifest
    device = embedder.device
    if device == "cpu" and embedder.precision == "int8":
        device += f", {integer_kernel().value}"
    meaning = {
        "model": f"{manifest.model_id} {manifest.fingerprint(embedder.precision)}",
        "precision": embedder.precision,
        "task": call.task,
        "prompt": repr(call.prompt),
        "width": str(call.width),
        "device": device,
        "longest text": f"{embedder.max_length} tokens",
        "splitting": str(SPLITTING),
    }
    if manifest.image is not None:  # its size and scaling are part of the fingerprint
        meaning["images"] = "upright"
    return meaning


def maker_of(meaning: Mapping[str, str]) -> Maker:
    """Who made an index with this meaning; empty where that is not said."""
    return Maker(*(meaning.get(name, "") for name in ("model", "task", "precision")))

"""mteb's encoder: a pack in the benchmarks of the Massive Text Embedding Benchmark.

Written for mteb 2.26; see `mteb.models.EncoderProtocol`. Which task of the pack an evaluation gets,
and which prompt, follows what mteb runs the jina-embeddings models with (`jina_models.py` there).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.integrations.libraries import needs
from embedge.integrations.model import Model, PackOrEmbedder
from embedge.vectors import quantize

with needs("mteb", package="mteb"):
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ScoringFunction
    from mteb.types import PromptType

# A kind of evaluation, in mteb's words, and the tasks that serve it, the best first. Retrieval has
# two sides, which `encode_query` and `encode_document` know.
_TASKS = {
    "classification": ("classification",),
    "clustering": ("clustering", "separation"),
    "pair-classification": ("text-matching",),
    "semantic-similarity": ("text-matching",),
}


class EmbedgeEncoder(AbsEncoder):
    """An encoder for `mteb.evaluate`: it picks the pack's task and prompt for each evaluation.

    Classification, clustering, and pairs (STS, pair classification, bitext mining, summaries) get
    the task of that name, retrieval and reranking "retrieval"; the pack's default task where it has
    none such. Queries get the prompt of queries, all others that of documents.

    Args:
        pack: folder of the pack; the one that embedge bundles if left out. Or an `Embedder`.
        revision: what mteb's results call this version; the pack's fingerprint if left out.
        device: "cpu" or "cuda"; chosen if None.
        options: task, truncate_dim, max_length, precision, threads: see
            `embedge.integrations.model.Model`. With `task`, all evaluations get that one.

    >>> encoder = EmbedgeEncoder()
    >>> encoder.mteb_model_meta.name, encoder.mteb_model_meta.embed_dim
    ('embedge/embedge-mini', 256)
    """

    def __init__(
        self,
        pack: PackOrEmbedder = None,
        revision: str | None = None,
        *,
        device: str | None = None,
        **options: Any,
    ) -> None:
        self.model = Model(pack, **{**options, "device": device or "auto"})
        self._revision = revision

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb's results say of the model. Opens the pack."""
        embedder, settings = self.model.embedder, self.model.settings()
        manifest = embedder.manifest
        name = manifest.model_id if "/" in manifest.model_id else f"embedge/{manifest.model_id}"
        return ModelMeta.create_empty(
            {
                "name": name,
                "revision": self._revision or manifest.fingerprint(embedder.precision),
                "embed_dim": settings["truncate_dim"] or manifest.dimension,
                "max_tokens": settings["max_length"] or embedder.max_length,
                "license": manifest.license,
                "modalities": ["text"] if manifest.image is None else ["text", "image"],
                "similarity_fn_name": ScoringFunction.COSINE,
            }
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> NDArray[Any]:
        """Vectors (n, d) of what a benchmark asks for.

        Args:
            inputs: batches, mappings with "text", a list of str, or "image", of PIL images, or
                both: then an item's vector is the sum of the two.
            task_metadata: of mteb's task; its kind decides the pack's task.
            hf_split: not used.
            hf_subset: not used.
            prompt_type: whether these are queries or documents.
            kwargs: `precision` is the type of the vectors, as in `embedge.quantize`. Others, such
                as batch_size, have no effect: embedge cuts batches by tokens and memory.
        """
        texts: list[str] = []
        pictures = []  # one array a batch, so that no more than its images are held
        for batch in inputs:
            texts += batch.get("text", [])
            if "image" in batch:
                pictures.append(self.model.images(batch["image"]))
        parts = [np.concatenate(pictures)] if pictures else []
        if texts or not pictures:
            parts.append(self._texts(texts, task_metadata.simplified_task_type, prompt_type))
        rows = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return quantize(rows, kwargs.get("precision") or "float32")

    def _texts(
        self, texts: list[str], kind: str, prompt_type: PromptType | None
    ) -> NDArray[np.float32]:
        embedder, settings = self.model.embedder, self.model.settings()
        call = {name: settings[name] for name in ("truncate_dim", "max_length")}
        task = settings["task"]
        if task is None and kind in _TASKS:
            default = embedder.manifest.default_task
            task = next((name for name in _TASKS[kind] if name in embedder.tasks), default)
        if task in embedder.prompts:  # it has an instruction of its own, for both sides
            return embedder.encode(texts, task=task, **call)
        if prompt_type == PromptType.query:
            return embedder.encode_query(texts, task=task, **call)
        if prompt_type is not None or kind not in _TASKS:
            return embedder.encode_document(texts, task=task, **call)
        return embedder.encode(texts, task=task, **call)

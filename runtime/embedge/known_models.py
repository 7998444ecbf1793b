"""Models that are known to export: names, sizes, languages, licenses. Data alone.

Sizes, languages and licenses are those of the model cards in November 2026. A model of the table
has the layout of a family that the exporter knows; `gated` says whether a pack of its own weights
was seen to pass. Nothing here is a limit: every model of these families can be exported. Knows no
pack.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One model of the hub.

    Attributes:
        model_id: on the hub.
        model_type: in its config.json; a model without one has that of its family.
        parameters: millions, adapters included.
        languages: in words.
        license: as the model card says.
        pooling: how token vectors become one.
        prompts: that its card asks for and that its files lack.
        images: whether it reads images too.
        gated: whether a pack of the real weights was made and passed its gate.
    """

    model_id: str
    model_type: str
    parameters: float
    languages: str
    license: str
    pooling: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    images: bool = False
    gated: bool = False

    @property
    def name(self) -> str:
        """What it is called without its owner."""
        return self.model_id.rpartition("/")[2]

    @property
    def command(self) -> str:
        """The command that makes its pack, in the user's pack folder."""
        prompts = [f"--prompt {shlex.quote(f'{n}={text}')}" for n, text in self.prompts.items()]
        return " ".join(["embedge export", self.model_id, *prompts])


_ENGLISH, _MIT, _APACHE, _NON_COMMERCIAL = "English", "MIT", "Apache-2.0", "CC BY-NC 4.0"
_E5 = {"query": "query: ", "document": "passage: "}
_BGE = {
    "query": "Represent this sentence for searching relevant passages: ",
    "document": "",
}
_NOMIC = {"query": "search_query: ", "document": "search_document: "}

# owner/name, model_type, millions, languages, license, pooling
_ROWS = (
    (
        *("jinaai/jina-embeddings-v5-text-small", "jina_embeddings_v5", 677),
        *("119 languages", _NON_COMMERCIAL, "last_token"),
    ),
    (
        *("jinaai/jina-embeddings-v5-text-nano", "jina_embeddings_v5", 239),
        *("15 and more languages", _NON_COMMERCIAL, "last_token"),
    ),
    (
        *("jinaai/jina-embeddings-v3", "jina_embeddings_v3", 572),
        *("89 languages", _NON_COMMERCIAL, "mean"),
    ),
    ("jinaai/jina-clip-v2", "jina_clip", 865, "89 languages", _NON_COMMERCIAL, "mean"),
    (
        *("Qwen/Qwen3-Embedding-0.6B", "qwen3", 596),
        *("more than 100 languages", _APACHE, "last_token"),
    ),
    ("sentence-transformers/all-MiniLM-L6-v2", "bert", 22.7, _ENGLISH, _APACHE, "mean"),
    ("sentence-transformers/all-mpnet-base-v2", "mpnet", 109, _ENGLISH, _APACHE, "mean"),
    ("BAAI/bge-small-en-v1.5", "bert", 33.4, _ENGLISH, _MIT, "cls"),
    ("BAAI/bge-base-en-v1.5", "bert", 109, _ENGLISH, _MIT, "cls"),
    ("intfloat/e5-small-v2", "bert", 33.4, _ENGLISH, _MIT, "mean"),
    ("intfloat/e5-base-v2", "bert", 109, _ENGLISH, _MIT, "mean"),
    ("intfloat/multilingual-e5-base", "xlm-roberta", 278, "94 languages", _MIT, "mean"),
    ("intfloat/multilingual-e5-large", "xlm-roberta", 560, "94 languages", _MIT, "mean"),
    ("nomic-ai/modernbert-embed-base", "modernbert", 149, _ENGLISH, _APACHE, "mean"),
    ("Alibaba-NLP/gte-modernbert-base", "modernbert", 149, _ENGLISH, _APACHE, "cls"),
    ("minishlab/potion-base-8M", "model2vec", 7.6, _ENGLISH, _MIT, "mean"),
    ("minishlab/potion-retrieval-32M", "model2vec", 32.3, _ENGLISH, _MIT, "mean"),
    ("minishlab/potion-multilingual-128M", "model2vec", 128, "101 languages", _MIT, "mean"),
)
_PROMPTS = {"intfloat": _E5, "BAAI": _BGE, "nomic-ai": _NOMIC}
_GATED = ("all-MiniLM-L6-v2",)

KNOWN_MODELS: tuple[KnownModel, ...] = tuple(
    KnownModel(
        model_id=name,
        model_type=kind,
        parameters=millions,
        languages=languages,
        license=license,
        pooling=pooling,
        prompts=_PROMPTS.get(name.partition("/")[0], {}),
        images=kind == "jina_clip",
        gated=name.endswith(_GATED),
    )
    for name, kind, millions, languages, license, pooling in _ROWS
)


def find_known_model(name: str) -> KnownModel | None:
    """The model of a hub id, or of a name without its owner; upper and lower case are alike.

    >>> find_known_model("all-minilm-l6-v2").model_id
    'sentence-transformers/all-MiniLM-L6-v2'
    """
    wanted = name.casefold()
    names = ((known, (known.model_id, known.name)) for known in KNOWN_MODELS)
    return next((known for known, own in names if wanted in map(str.casefold, own)), None)

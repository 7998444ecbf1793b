"""A static model's table and its tokenizer's settings, checked.

Takes the parsed config.json, the tensors and tokenizer.json; gives one frozen record, and the
tensors under common names:

    table           (rows, width)
    mapping         (vocabulary,), the row of each token; missing where each has a row of its own
    token_weights   (vocabulary,), what each token's row is multiplied by; missing for 1
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedge.errors import SourceError
from embedge.pack.checks import MAX_LENGTH
from embedge_export.families.static.fields import FIELDS, MODEL2VEC
from embedge_export.reading.fields import Settings, is_whole, shown
from embedge_export.reading.json_files import read_json
from embedge_export.tensors.renamed import NamedWeights, Place
from embedge_export.tensors.weights import Weights, check_tensors

TABLE_KEY, MAPPING_KEY, WEIGHTS_KEY = "table", "mapping", "token_weights"
# Names in the files: model2vec's, and those of torch's EmbeddingBag.
_NAMES = {
    "embeddings": TABLE_KEY,
    "embedding.weight": TABLE_KEY,
    "mapping": MAPPING_KEY,
    "weights": WEIGHTS_KEY,
}
_USUAL_LENGTH = 512  # tokens; model2vec's, where a config is silent
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticConfig:
    """Sizes of a table, and which token has no vector.

    Attributes:
        hidden_size: width of a row, and of the vectors.
        vocab_size: tokens that have a row.
        rows: of the table; fewer than tokens where several share one.
        mapped: whether a mapping says which row a token has.
        weighted: whether each token's row is multiplied by a weight.
        unknown_id: the token for unknown words, which is left out of the mean; None: none is.
    """

    hidden_size: int
    vocab_size: int
    rows: int
    mapped: bool
    weighted: bool
    unknown_id: int | None

    @property
    def family(self) -> str:
        """The network's name, in messages and in the manifest."""
        return "static"

    @property
    def causal(self) -> bool:
        """False: the order of tokens does not count."""
        return False

    @property
    def num_hidden_layers(self) -> int:
        """0: there are no layers."""
        return 0


def named_tensors(stored: Weights) -> NamedWeights:
    """The tensors under their common names; others keep theirs, to be refused."""
    names: dict[str, Place] = {}
    for name in sorted(stored.keys()):
        own = _NAMES.get(name, name)
        if own in names:
            raise SourceError(
                f"tensors {names[own].name!r} and {name!r} are both the table; save the model again"
            )
        names[own] = Place(name)
    return NamedWeights(stored, names)


def static_config(
    folder: Path, config: Mapping[str, Any], weights: NamedWeights, network: str
) -> StaticConfig:
    """Reads and checks a static model.

    Args:
        folder: of the weights and the tokenizer.
        config: config.json, or what stands for it.
        weights: under their common names.
        network: a key of `FIELDS`.

    Raises:
        SourceError: a tensor is missing, unknown, or does not fit the others.
    """
    settings = Settings(config, FIELDS[network])
    settings.flag("normalize", default=False) if network == MODEL2VEC else None
    rows, width = table_shape(weights)
    shape = weights.shape(MAPPING_KEY) if MAPPING_KEY in weights else (rows,)
    vocabulary = shape[0] if len(shape) == 1 else 0
    result = StaticConfig(
        hidden_size=width,
        vocab_size=vocabulary,
        rows=rows,
        mapped=MAPPING_KEY in weights,
        weighted=WEIGHTS_KEY in weights,
        unknown_id=unknown_id(folder) if network == MODEL2VEC else None,
    )
    check_tensors(weights, _expected(result), "a static model")
    if result.mapped:
        mapping = weights.read(MAPPING_KEY)
        if not ((mapping >= 0) & (mapping < rows) & (mapping == np.rint(mapping))).all():
            raise SourceError(
                f"{folder}: the tensor 'mapping' names rows that the table of {rows:,} does not "
                "have; download the model again"
            )
    return result


def table_shape(weights: Weights) -> tuple[int, int]:
    """Rows and width of the table, known without reading it."""
    if TABLE_KEY not in weights:
        raise SourceError(
            "the weights lack the table of a static model, 'embeddings' or 'embedding.weight'; is "
            "the checkpoint complete?"
        )
    shape = weights.shape(TABLE_KEY)
    if len(shape) != 2 or 0 in shape:
        raise SourceError(f"the table of vectors has shape {shape}; it must be (tokens, width)")
    return shape[0], shape[1]


def longest(folder: Path, config: Mapping[str, Any], network: str) -> int:
    """The most tokens that a text may have: longer ones are cut.

    model2vec goes by its config.json, Sentence Transformers by the cut that tokenizer.json itself
    asks for.
    """
    if network == MODEL2VEC:
        where, field = "config.json", "max_length"
        value = config.get(field, _USUAL_LENGTH)
    else:
        where, field = TOKENIZER, "truncation.max_length"
        cut = read_json(folder / TOKENIZER).get("truncation")
        value = cut.get("max_length") if isinstance(cut, dict) else None
    if value is None:
        return MAX_LENGTH
    if not is_whole(value) or value < 1:
        raise SourceError(
            f"{folder / where}: {field} is {shown(value)}; it must be a positive whole number"
        )
    return min(value, MAX_LENGTH)


def unknown_id(folder: Path) -> int | None:
    """The id of tokenizer.json's token for unknown words, as model2vec finds it."""
    file = read_json(folder / TOKENIZER)
    model = file.get("model")
    if not isinstance(model, dict):
        return None
    if isinstance(model.get("vocab"), list):  # Unigram
        number = model.get("unk_id")
        return number if is_whole(number) and number >= 0 else None
    token, vocabulary = model.get("unk_token"), model.get("vocab")
    added = file.get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, dict) and entry.get("content") == token and is_whole(entry.get("id")):
            return int(entry["id"])
    found = vocabulary.get(token) if isinstance(vocabulary, dict) else None
    return found if is_whole(found) else None


def notes(folder: Path, most: int) -> list[str]:
    """Where model2vec cuts otherwise, and where Sentence Transformers reads its folder otherwise.

    Args:
        folder: of the tokenizer.
        most: tokens that a text may have.
    """
    file = read_json(folder / TOKENIZER)
    model = file.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    pieces = [one[0] if isinstance(one, list) and one else one for one in vocabulary or ()]
    added = file.get("added_tokens")
    pieces += [one.get("content") for one in added or () if isinstance(one, dict)]
    lengths = [len(piece) for piece in {one for one in pieces if isinstance(one, str)}]
    found = []
    if most < MAX_LENGTH and lengths:
        found.append(
            f"model2vec cuts a text at {most * int(np.median(lengths)):,} characters, then at "
            f"{most:,} tokens; the pack cuts at {most:,} tokens alone"
        )
    if unknown_id(folder) is not None:
        found.append(
            "model2vec leaves words that the tokenizer does not know out of a text's mean, and so "
            "does the pack; Sentence Transformers counts them"
        )
    return found


def _expected(config: StaticConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield TABLE_KEY, (config.rows, config.hidden_size)
    if config.mapped:
        yield MAPPING_KEY, (config.vocab_size,)
    if config.weighted:
        yield WEIGHTS_KEY, (config.vocab_size,)

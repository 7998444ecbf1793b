"""What Sentence Transformers' files say about using a network: prompts, length limit.

Takes a model folder, the parsed config.json and its family; gives plain values for `folder.py`.
Every field is read by the tables of `sentence_fields.py`: what would change the vectors and is not
reproduced (a Dense layer, say, or texts in lower case) is an error, never skipped. Knows nothing of
weights or adapters.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge.pack.checks import MAX_LENGTH
from embedge_export.families.family import Family
from embedge_export.head.head import Head
from embedge_export.reading.fields import Settings, is_number, is_whole, shown
from embedge_export.reading.json_files import read_json
from embedge_export.source import sentence_fields as tables
from embedge_export.source.files import LIMITS, PROMPTS
from embedge_export.source.modules import refuse_unknown

_NO_LIMIT = 1e9  # a tokenizer without a limit is saved with 1e30


def read_prompts(
    folder: Path, config: Mapping[str, Any], family: Family[Any], head: Head
) -> tuple[dict[str, str], str | None]:
    """Prompts by name, and the default prompt's name.

    Raises:
        SourceError: they cannot be used, or the model's other settings cannot be reproduced.
    """
    path = folder / PROMPTS
    settings = Settings(read_json(path), tables.MODEL_FIELDS, file=str(path))
    given = settings.get("prompts") or {}
    if not isinstance(given, dict) or not all(isinstance(v, str | None) for v in given.values()):
        raise SourceError(f'{path}: "prompts" is not an object of strings; correct it')
    prompts = {name: text or "" for name, text in given.items()}
    default = settings.get("default_prompt_name")
    if not prompts and family.prompts:
        prompts, default = dict(family.prompts), family.default_prompt
    instructions = family.task_settings(config).get("task_instructions")
    if not prompts and isinstance(instructions, dict):
        # The runtime takes a prompt that is called as the task where that task is asked for.
        prompts = {name: text for name, text in instructions.items() if isinstance(text, str)}
        default = family.default_instruction(config, default)
    if default in ("query", "document") and default not in prompts:
        default = None  # Sentence Transformers has these two in every model, as empty texts
    if default is not None and (not isinstance(default, str) or default not in prompts):
        raise SourceError(
            f'{path}: "default_prompt_name" {shown(default)} is not among its prompts '
            f"({', '.join(prompts) or 'none'}); correct one of them"
        )
    _check_use(settings, head)
    return prompts, default


def read_max_length(folder: Path, config: Mapping[str, Any], family: Family[Any]) -> int:
    """The most tokens a text may have, special tokens included.

    Sentence Transformers' own limit counts where it is set, else the tokenizer's; neither more
    than the network has positions (RoBERTa has 514 positions for 512 tokens).

    Raises:
        SourceError: a limit is not a positive number, or there is none.
    """
    positions = family.positions(folder, config)
    if family.bare_tokenizer:  # nor does it read any other file
        return min(_limit(folder / "config.json", "max_length", positions))
    path, settings = _read_network(folder)
    known = _limit(folder / "config.json", "max_position_embeddings", positions)
    arguments = tokenizer_arguments(folder)
    own = _limit(path, "max_seq_length", settings.get("max_seq_length"))
    own = _limit(path, "model_max_length", arguments.get("model_max_length")) or own
    if not own:
        path = folder / "tokenizer_config.json"
        tokenizer = read_json(path)
        own = _limit(path, "model_max_length", tokenizer.get("model_max_length"))
        own = own or _limit(path, "max_len", tokenizer.get("max_len"))
    if not known and not own:
        raise SourceError(
            f'{folder / "config.json"} has no "max_position_embeddings", and no other file a '
            "length limit; add the number of tokens that the model was made for"
        )
    return min([*known, *own, MAX_LENGTH])


def tokenizer_arguments(folder: Path) -> Mapping[str, Any]:
    """What the network's settings hand on to the tokenizer."""
    _, settings = _read_network(folder)
    return settings.get("tokenizer_args") or settings.get("processor_kwargs") or {}


def lowercases(folder: Path) -> Path | None:
    """The file that asks for texts in lower case, if one does."""
    path, settings = _read_network(folder)
    value = settings.get("do_lower_case")
    if not isinstance(value, bool | None):
        raise settings.error("do_lower_case", "it must be true or false")
    return path if value else None


def _limit(path: Path, name: str, value: Any) -> list[int]:
    """A length limit as a list of one; empty where there is none."""
    if value is None or (is_number(value) and value >= _NO_LIMIT):
        return []
    if not is_number(value) or value < 1:
        raise SourceError(f"{path}: the length limit is {shown(value)} ({name}); correct it")
    return [int(value)]


def _read_network(folder: Path) -> tuple[Path, Settings]:
    """The network's settings, of the first such file that says anything."""
    found = ((folder / name, read_json(folder / name)) for name in LIMITS)
    path, values = next(((p, v) for p, v in found if v), (folder / LIMITS[0], {}))
    settings = Settings(values, tables.NETWORK_FIELDS, file=str(path))
    refuse_unknown(path, values, tables.NETWORK_FIELDS)
    for name, fields in tables.ARGUMENTS.items():
        inner = values.get(name) or {}
        if not isinstance(inner, dict):
            raise settings.error(name, "it must be an object")
        Settings(inner, fields, file=str(path), inside=f"{name}.")
        refuse_unknown(path, inner, fields, inside=f"{name}.")
    return path, settings


def _check_use(settings: Settings, head: Head) -> None:
    """Settings of use that the runtime does not have: another similarity, another width."""
    width = head.width
    dimension = settings.get("truncate_dim")
    if dimension is not None and not (is_whole(dimension) and dimension >= width):
        raise settings.error(
            "truncate_dim",
            f"and a pack gives all {width} numbers unless a call says otherwise; remove it, and "
            "pass truncate_dim= where you embed",
        )
    similarity = settings.get("similarity_fn_name")
    if similarity in (None, "cosine") or (similarity == "dot" and head.normalizes):
        return  # of vectors of length 1, the dot product is the cosine
    raise settings.error(
        "similarity_fn_name",
        "and vectors are compared by their cosine here, which would rank otherwise. Set it to "
        '"cosine", and pass normalize=False where you embed: those vectors are the model\'s own, '
        "for an index that compares them as the model means it",
    )

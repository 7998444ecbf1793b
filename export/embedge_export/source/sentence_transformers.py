"""What Sentence Transformers' files say about using a network: prompts, pooling, length limit.

Takes a model folder, the parsed config.json and its family; gives plain values for `folder.py`.
Every field is read by the tables of `sentence_fields.py`: what would change the vectors and is not
reproduced (a Dense layer, say, or texts in lower case) is an error, never skipped. Knows nothing of
weights or adapters.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge.pack.checks import MAX_LENGTH, safe_name
from embedge_export.families.family import Family
from embedge_export.reading.fields import Fields, Settings, is_number, is_whole, shown
from embedge_export.reading.json_files import load_json, read_json
from embedge_export.source import sentence_fields as tables
from embedge_export.source.files import LIMITS, MODULES, POOLING, PROMPTS

_POOLINGS = {"lasttoken": "last_token", "mean": "mean", "cls": "cls"}
_NO_LIMIT = 1e9  # a tokenizer without a limit is saved with 1e30
_ORDER = ("Transformer", "Pooling", "Normalize")


def read_prompts(
    folder: Path, config: Mapping[str, Any], family: Family[Any]
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
    _check_use(folder, config, family, settings)
    return prompts, default


def read_pooling(folder: Path, config: Mapping[str, Any], family: Family[Any]) -> str:
    """How token vectors become one: "last_token", "mean" or "cls".

    Raises:
        SourceError: no file says it, or another module or setting would change the vectors.
    """
    listed = (folder / MODULES).exists()
    places = _read_modules(folder / MODULES) if listed else {"Pooling": Path(POOLING).parent.name}
    path = folder / places.get("Pooling", "") / "config.json"
    if "Pooling" in places and (listed or path.exists()):
        return _read_pooling_config(path, family.width(folder, config))
    if family.pooling is not None:
        return family.pooling  # done by the model's own code
    if config.get("emb_pooler") == "mean":
        return "mean"  # likewise
    if not listed and family.usual_pooling is not None:
        return family.usual_pooling
    raise SourceError(
        f"{folder} does not say how it pools its token vectors, and a guess would give wrong ones. "
        'Add 1_Pooling/config.json, e.g. {"pooling_mode_mean_tokens": true}, as its model card says'
    )


def read_max_length(folder: Path, config: Mapping[str, Any], family: Family[Any]) -> int:
    """The most tokens a text may have, special tokens included.

    Sentence Transformers' own limit counts where it is set, else the tokenizer's; neither more
    than the network has positions (RoBERTa has 514 positions for 512 tokens).

    Raises:
        SourceError: a limit is not a positive number, or there is none.
    """
    positions = family.positions(folder, config)
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
    _refuse_unknown(path, values, tables.NETWORK_FIELDS)
    for name, fields in tables.ARGUMENTS.items():
        inner = values.get(name) or {}
        if not isinstance(inner, dict):
            raise settings.error(name, "it must be an object")
        Settings(inner, fields, file=str(path), inside=f"{name}.")
        _refuse_unknown(path, inner, fields, inside=f"{name}.")
    return path, settings


def _refuse_unknown(
    path: Path, values: Mapping[str, Any], fields: Fields, *, inside: str = ""
) -> None:
    """Fields that Sentence Transformers itself would refuse, or that only a newer version has."""
    for name in values:
        if name not in fields:
            raise SourceError(
                f"{path}: {shown(inside + name)} is not known, and may change the vectors; remove "
                "it if it does not"
            )


def _check_use(
    folder: Path, config: Mapping[str, Any], family: Family[Any], settings: Settings
) -> None:
    """Settings of use that the runtime does not have: another similarity, another width."""
    width = family.width(folder, config)
    dimension = settings.get("truncate_dim")
    if dimension is not None and not (is_whole(dimension) and dimension >= width):
        raise settings.error(
            "truncate_dim",
            f"and a pack gives all {width} numbers unless a call says otherwise; remove it, and "
            "pass truncate_dim= where you embed",
        )
    similarity = settings.get("similarity_fn_name")
    modules = _read_modules(folder / MODULES) if (folder / MODULES).exists() else {}
    if similarity in (None, "cosine") or (similarity == "dot" and "Normalize" in modules):
        return  # of vectors of length 1, the dot product is the cosine
    raise settings.error(
        "similarity_fn_name",
        "and vectors are compared by their cosine here, which would rank otherwise. Set it to "
        '"cosine" if that is what you want: the vectors are the same',
    )


def _read_modules(path: Path) -> dict[str, str]:
    """Checks every module of modules.json; gives their folders by kind, for those we know."""
    modules = load_json(path)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise SourceError(f"{path} is not a list of modules; download it again")
    places: dict[str, str] = {}
    names: set[str] = set()
    order: list[str] = []
    for module in modules:
        kind, place = _text(path, module, "type"), _text(path, module, "path")
        name = _known_kind(kind)
        if name is None:
            raise SourceError(
                f"{path}: module {kind!r} ({place or 'no folder'}) changes the vectors and is not "
                "supported; exporting without it would give wrong ones"
            )
        if name == "Transformer" and place:
            raise SourceError(
                f"{path}: the network stands in the sub-folder {place!r}; move its files beside "
                'modules.json and set its "path" to ""'
            )
        if name == "Pooling" and name in places:
            raise SourceError(f"{path}: it has two Pooling modules; that is not supported")
        if (name == "Pooling" or place) and not safe_name(place):
            raise SourceError(f"{path}: {place!r} is not the name of a folder beside it")
        if name == "Normalize" and place:
            inner = path.parent / place / "config.json"
            Settings(read_json(inner), tables.NORMALIZE_FIELDS, file=str(inner))
        label = _text(path, module, "name")
        if label and label in names:
            raise SourceError(f"{path}: two modules are named {label!r}, so one would be lost")
        names.add(label)
        places[name] = place
        if name in _ORDER:
            order.append(name)
    expected = sorted(order, key=_ORDER.index)
    if order and (order != expected or order.count("Transformer") != 1):
        raise SourceError(
            f"{path}: its modules are {', '.join(order)}; only a network, then its pooling, then "
            "a norm can be exported"
        )
    return places


def _known_kind(kind: str) -> str | None:
    """The name of a module that is reproduced, or that does nothing here; else None."""
    library, _, name = kind.rpartition(".")
    if kind == "custom_st.Transformer":  # Jina's own
        return name
    known = library.split(".")[0] == "sentence_transformers" and name in (*_ORDER, "Dropout")
    return name if known else None


def _text(path: Path, module: Mapping[str, Any], field: str) -> str:
    value = module.get(field, "")
    if not isinstance(value, str):
        raise SourceError(f'{path}: "{field}" is {shown(value)}, not a text; download it again')
    return value


def _read_pooling_config(path: Path, width: int) -> str:
    values = read_json(path)
    settings = Settings(values, tables.POOLING_FIELDS, file=str(path))
    _refuse_unknown(path, values, tables.POOLING_FIELDS)
    named = settings.get("pooling_mode")
    modes = named if isinstance(named, list) else [named] if named is not None else []
    if not all(isinstance(mode, str) for mode in modes):
        raise settings.error("pooling_mode", "it must be a name")
    flags = [
        mode for flag, mode in tables.POOLING_FLAGS.items() if settings.flag(flag, default=False)
    ]
    if modes and flags and modes != flags:
        raise SourceError(
            f"{path}: pooling_mode is {shown(named)}, and its flags say {' + '.join(flags)}; "
            "correct one of them"
        )
    modes = modes or flags
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise SourceError(
            f"{path}: pooling {' + '.join(map(str, modes)) or 'without any mode'} is not "
            f"supported; one of {', '.join(_POOLINGS)} is"
        )
    for name in ("word_embedding_dimension", "embedding_dimension"):
        value = settings.get(name)
        if value is not None and value != width:
            raise settings.error(
                name, f"and the network gives {width}: the files are not of one model"
            )
    # The last token is never one of the prompt's, so it is the same either way.
    if not settings.flag("include_prompt", default=True) and modes[0] != "lasttoken":
        raise SourceError(
            f'{path}: "include_prompt" is false (prompt tokens left out of the pooling), which is '
            "not supported; exporting without it would give wrong vectors"
        )
    return _POOLINGS[modes[0]]

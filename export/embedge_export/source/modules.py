"""The modules of a Sentence Transformers model, read as the head of a network.

Takes a model folder, the parsed config.json and its family; gives the `Head`: how token vectors
become one. A module or a setting that would change the vectors and is not reproduced is an error,
never skipped.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge.pack.checks import safe_name
from embedge_export.families.family import Family
from embedge_export.head.head import MEAN, Head, Normalize
from embedge_export.reading.fields import Fields, Settings, shown
from embedge_export.reading.json_files import load_json, read_json
from embedge_export.source import sentence_fields as tables
from embedge_export.source.files import MODULES, POOLING, STATIC

_ORDER = ("Transformer", "Pooling", "Normalize")


def read_head(folder: Path, config: Mapping[str, Any], family: Family[Any]) -> Head:
    """How a text's rows become its vector.

    Raises:
        SourceError: no file says it, or a module or setting would change the vectors.
    """
    width = family.width(folder, config)
    listed = (folder / MODULES).exists()
    places = read_modules(folder / MODULES) if listed else {"Pooling": Path(POOLING).parent.name}
    normalized = (Normalize(),)  # as all do whose files do not list their modules
    path = folder / places.get("Pooling", "") / "config.json"
    if "Pooling" in places and (listed or path.exists()):
        steps = normalized if "Normalize" in places or not listed else ()
        return Head(width, _read_modes(path, width), steps)
    if family.pooling is not None:
        return Head(width, (family.pooling,), normalized)  # done by the model's own code
    if config.get("emb_pooler") == "mean":
        return Head(width, (MEAN,), normalized)  # likewise
    if not listed and family.usual_pooling is not None:
        return Head(width, (family.usual_pooling,), normalized)
    raise SourceError(
        f"{folder} does not say how it pools its token vectors, and a guess would give wrong ones. "
        'Add 1_Pooling/config.json, e.g. {"pooling_mode_mean_tokens": true}, as its model card says'
    )


def read_modules(path: Path) -> dict[str, str]:
    """Checks every module of modules.json; gives their folders by kind, for those we know."""
    modules = load_json(path)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise SourceError(f"{path} is not a list of modules; download it again")
    places: dict[str, str] = {}
    names: set[str] = set()
    order: list[str] = []
    pools = False  # whether the network makes one vector of a text by itself
    for module in modules:
        kind, place = _text(path, module, "type"), _text(path, module, "path")
        name = _known_kind(kind)
        if name == STATIC and not order:  # a network, wherever its files stand
            name, place, pools = "Transformer", "", True
        if name in (None, STATIC) or (name == "Pooling" and pools):
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
    known = library.split(".")[0] == "sentence_transformers" and name in (
        *_ORDER,
        "Dropout",
        STATIC,
    )
    return name if known else None


def _text(path: Path, module: Mapping[str, Any], field: str) -> str:
    value = module.get(field, "")
    if not isinstance(value, str):
        raise SourceError(f'{path}: "{field}" is {shown(value)}, not a text; download it again')
    return value


def _read_modes(path: Path, width: int) -> tuple[str, ...]:
    values = read_json(path)
    settings = Settings(values, tables.POOLING_FIELDS, file=str(path))
    refuse_unknown(path, values, tables.POOLING_FIELDS)
    named = settings.get("pooling_mode")
    modes = named if isinstance(named, list) else [named] if named is not None else []
    if not all(isinstance(mode, str) for mode in modes):
        raise settings.error("pooling_mode", "it must be a name")
    flags = [
        mode for flag, mode in tables.POOLING_FLAGS.items() if settings.flag(flag, default=False)
    ]
    if modes and flags and set(modes) != set(flags):
        raise SourceError(
            f"{path}: pooling_mode is {shown(named)}, and its flags say {' + '.join(flags)}; "
            "correct one of them"
        )
    modes = modes or flags
    if not modes or not set(modes) <= set(tables.POOLING_MODES):
        raise SourceError(
            f"{path}: pooling {' + '.join(map(str, modes)) or 'without any mode'} is not "
            f"supported; {', '.join(tables.POOLING_MODES)} are"
        )
    for name in ("word_embedding_dimension", "embedding_dimension"):
        value = settings.get(name)
        if value is not None and value != width:
            raise settings.error(
                name, f"and the network gives {width}: the files are not of one model"
            )
    # The last token is never one of the prompt's, so it is the same either way.
    if not settings.flag("include_prompt", default=True) and set(modes) != {"lasttoken"}:
        raise SourceError(
            f'{path}: "include_prompt" is false (prompt tokens left out of the pooling), which is '
            "not supported; exporting without it would give wrong vectors"
        )
    return tuple(tables.POOLING_MODES[mode] for mode in modes)


def refuse_unknown(
    path: Path, values: Mapping[str, Any], fields: Fields, *, inside: str = ""
) -> None:
    """Fields that Sentence Transformers itself would refuse, or that only a newer version has."""
    for name in values:
        if name not in fields:
            raise SourceError(
                f"{path}: {shown(inside + name)} is not known, and may change the vectors; remove "
                "it if it does not"
            )

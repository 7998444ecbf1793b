"""The modules of a Sentence Transformers model: which there are, and in which order.

Takes modules.json; gives the modules that are reproduced. Any other is an error, never skipped,
unless it does nothing. What the modules hold is read by head.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge.pack.checks import safe_name
from embedge_export.reading.fields import Fields, shown
from embedge_export.reading.json_files import load_json
from embedge_export.source.files import MODULES, STATIC

_BEHIND = ("Dense", "LayerNorm", "Normalize")
_IDLE = ("Dropout",)  # does something in training alone
_WITH_FILES = ("Pooling", "Dense", "LayerNorm")
_KNOWN = (STATIC, "Transformer", "Pooling", *_BEHIND, *_IDLE)


@dataclass(frozen=True, slots=True)
class Module:
    """One that changes vectors.

    Attributes:
        kind: the class: `STATIC` or Transformer, Pooling, or one of `_BEHIND`.
        place: its folder, beside the list; "" for none.
    """

    kind: str
    place: str


def read_modules(path: Path) -> tuple[Module, ...]:
    """Checks every module of modules.json; gives those that change vectors, in their order.

    Raises:
        SourceError: one is not reproduced, or they stand in an order that makes no vector.
    """
    entries = load_json(path)
    if not isinstance(entries, list) or not all(isinstance(m, dict) for m in entries):
        raise SourceError(f"{path} is not a list of modules; download it again")
    modules: list[Module] = []
    names: set[str] = set()
    for entry in entries:
        kind, place = _text(path, entry, "type"), _text(path, entry, "path")
        name = _known_kind(kind)
        first = modules[0].kind if modules else None
        pooled_twice = name == "Pooling" and first == STATIC  # which pools by itself
        if name is None or pooled_twice or (name == STATIC and first is not None):
            raise SourceError(
                f"{path}: module {kind!r} ({place or 'no folder'}) changes the vectors and is not "
                "supported; exporting without it would give wrong ones"
            )
        if name == "Transformer" and place:
            raise SourceError(
                f"{path}: the network stands in the sub-folder {place!r}; move its files beside "
                'modules.json and set its "path" to ""'
            )
        if name == "Pooling" and any(module.kind == name for module in modules):
            raise SourceError(f"{path}: it has two Pooling modules; that is not supported")
        if name != STATIC and (name in _WITH_FILES or place) and not safe_name(place):
            raise SourceError(f"{path}: {place!r} is not the name of a folder beside it")
        label = _text(path, entry, "name")
        if label and label in names:
            raise SourceError(f"{path}: two modules are named {label!r}, so one would be lost")
        names.add(label)
        if name not in _IDLE:
            modules.append(Module(name, place))
    order = [module.kind for module in modules]
    networks = [kind for kind in order if kind in (STATIC, "Transformer")]
    start = [*networks, *(kind for kind in order if kind == "Pooling")]
    if order and (len(networks) != 1 or order[: len(start)] != start):
        raise SourceError(
            f"{path}: its modules are {', '.join(order)}; only a network, then its pooling, then "
            f"{', '.join(_BEHIND)} in any order can be exported"
        )
    return tuple(modules)


def modules_behind(folder: Path) -> tuple[Module, ...]:
    """The modules behind a model's pooling, as its folder lists them; none if it has no list."""
    path = folder / MODULES
    modules = read_modules(path) if path.exists() else ()
    return tuple(module for module in modules if module.kind in _BEHIND)


def _known_kind(kind: str) -> str | None:
    """The name of a module that is reproduced, or that does nothing here; else None."""
    library, _, name = kind.rpartition(".")
    if kind == "custom_st.Transformer":  # Jina's own
        return name
    known = library.split(".")[0] == "sentence_transformers" and name in _KNOWN
    return name if known else None


def _text(path: Path, module: Mapping[str, Any], field: str) -> str:
    value = module.get(field, "")
    if not isinstance(value, str):
        raise SourceError(f'{path}: "{field}" is {shown(value)}, not a text; download it again')
    return value


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

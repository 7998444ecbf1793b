"""Frozen records from JSON that may hold anything, and back: every field by its annotation.

A field may be a str, int, float, bool, another record, a tuple or a mapping of these, or None.
Unknown fields are refused, except in a record with a field `other`, which keeps them: what a newer
version notes there survives being read and written. Knows no record by name.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from embedge.errors import ManifestError

# A measured number as it was written; NaN where a graph gave no numbers.
Measured = Annotated[float, "measured"]

_LARGEST = 1e300  # of a number: what is larger is a mistake or an attack
_OTHER = "other"


def build(kind: Any, value: Any, where: str) -> Any:
    """A record from a JSON object.

    Raises:
        ManifestError: names the field, below `where`.
    """
    if not isinstance(value, dict):
        raise ManifestError(f"{where} must be an object")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    open_ended = fields.pop(_OTHER, None) is not None
    arguments: dict[str, Any] = {}
    if open_ended:
        arguments[_OTHER] = {name: value[name] for name in value if name not in fields}
    else:
        for name in value.keys() - fields.keys():
            raise ManifestError(f"{where} has an unknown field {name!r}")
    for name, spec in fields.items():
        if name in value:
            arguments[name] = _read(spec.type, value[name], f"{where}.{name}")
        elif spec.default is dataclasses.MISSING is spec.default_factory:
            raise ManifestError(f"{where} lacks the field {name!r}")
    return kind(**arguments)


def written(value: Any) -> Any:
    """What `build` gives the same record back from: dicts and lists, in the fields' order.

    In a record that keeps unknown fields, None is a field that is not there, unless its metadata
    says `null=True`.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        if _OTHER not in values:
            return {name: written(item) for name, item in values.items()}
        other = values.pop(_OTHER)
        null = {f.name for f in dataclasses.fields(value) if f.metadata.get("null")}
        there = {name: v for name, v in values.items() if v is not None or name in null}
        return {**written(there), **other}
    if isinstance(value, Mapping):
        return {name: written(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [written(item) for item in value]
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_is(value: Any) -> Any:
    return value


# How each kind of value is read, by annotation: (what it must be, test of the value, conversion).
_READERS: dict[Any, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    str: ("a string", lambda v: isinstance(v, str), _as_is),
    bool: ("true or false", lambda v: isinstance(v, bool), _as_is),
    int: ("a whole number", _is_whole, _as_is),
    float: ("a number", _is_number, float),
    Measured: ("a number", lambda v: _is_number(v) or v != v, _as_is),  # NaN
    Any: ("", lambda v: True, _as_is),
}


def _read(annotation: Any, value: Any, where: str) -> Any:
    if annotation in _READERS:
        expected, accepts, convert = _READERS[annotation]
        if not accepts(value):
            raise ManifestError(f"{where} must be {expected}")
        return convert(value)
    if dataclasses.is_dataclass(annotation):
        return build(annotation, value, where)
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):  # "… | None", written in two ways by Python
        return None if value is None else _read(parts[0], value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ManifestError(f"{where} must be a list")
        return tuple(_read(parts[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    assert origin is Mapping, annotation
    if not isinstance(value, dict):
        raise ManifestError(f"{where} must be an object")
    return {name: _read(parts[1], item, f"{where}[{name!r}]") for name, item in value.items()}

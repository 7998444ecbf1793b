"""The base of rotary positions, which a config.json can state in four places.

transformers 4 has `rope_theta`, and `rope_scaling` for what stretches it; transformers 5 has both
in `rope_parameters`, where a `rope_scaling` that is there as well replaces it whole. Jina's own
code calls it `rotary_emb_base`. All places that are filled must say the same, and none may stretch.
"""

from collections.abc import Mapping
from typing import Any

from embedge_export.reading.fields import Fields, Settings, is_number, shown, used

# A table of rotary angles has a row for every position.
MOST_POSITIONS = 2**20
NAMES = ("rope_theta", "rope_scaling", "rope_parameters")
FIELDS: Fields = used(*NAMES)
_OBJECTS = ("rope_scaling", "rope_parameters")
_KINDS = ("rope_type", "type")
LAYER_KINDS = ("full_attention", "sliding_attention")
# Beside the kind and the base. Of these, unstretched positions read none.
_WITHOUT_EFFECT = ("original_max_position_embeddings",)
_LARGEST = 1e30  # float32 holds it, with the room that a power needs


def rotary_base(
    settings: Settings, *, default: float | None = None, names: tuple[str, ...] = ("rope_theta",)
) -> float:
    """The one base that all places agree on.

    Args:
        settings: config.json; `names` and the two objects are read.
        default: where no place states one; without it that is an error.
        names: fields at top level that state it.

    Raises:
        SourceError: positions are stretched, or the places contradict each other.
    """
    found: dict[str, float] = {}
    for name in names:
        value = settings.get(name)
        if value is not None:
            found[name] = _base(settings, name, value)
    for name in _OBJECTS:
        value = settings.get(name)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            raise settings.error(name, "it must be an object")
        _refuse_stretched(settings, name, value)
        if value.get("rope_theta") is not None:
            found[f"{name}.rope_theta"] = _base(settings, name, value["rope_theta"])
    if not found and default is not None:
        return default
    if len(set(found.values())) != 1:
        raise settings.error(
            names[0],
            "and "
            + (
                f"the base of rotary positions is contradictory: {found}"
                if found
                else f"{names[0]} is missing in {' and '.join(_OBJECTS)} too"
            )
            + "; a guess would give wrong vectors silently, so state it once",
        )
    return next(iter(found.values()))


def layer_base(settings: Settings, kind: str, name: str, *, default: float) -> float:
    """The base of one kind of layers, where a network has two.

    transformers 4 has a field for each kind, and transformers 5 an object for each in
    `rope_parameters`.

    Args:
        settings: config.json; `name` and `rope_parameters` are read.
        kind: the object's name.
        name: the field's.
        default: where neither place states one.

    Raises:
        SourceError: positions are stretched, or the places contradict each other.
    """
    place = "rope_parameters"
    found = []
    if name in settings.values:  # of null the versions of transformers make different things
        found.append(_base(settings, name, settings.get(name)))
    objects = settings.get(place) or {}
    if not isinstance(objects, Mapping) or set(objects) - set(LAYER_KINDS):
        raise settings.error(place, f"it must be an object of {' and '.join(LAYER_KINDS)}")
    value = objects.get(kind)
    if value is not None:
        if not isinstance(value, Mapping):
            raise settings.error(place, f"its {kind} must be an object")
        _refuse_stretched(settings, place, value)
        if "rope_theta" in value:
            found.append(_base(settings, place, value["rope_theta"]))
    if len(set(found)) > 1:
        raise settings.error(name, f"and {place} says {found[1]:g}; leave one of them out")
    return found[0] if found else default


def _base(settings: Settings, name: str, value: Any) -> float:
    if not is_number(value) or not 0 < value < _LARGEST:
        raise settings.error(
            name, f"its base {shown(value)} must be a number above 0 (no text, no object)"
        )
    return float(value)


def _refuse_stretched(settings: Settings, name: str, value: Mapping[str, Any]) -> None:
    """Refuses everything but unstretched positions, for which there are two spellings."""
    kinds = {
        value[kind] if isinstance(value[kind], str) else shown(value[kind]): kind
        for kind in _KINDS
        if value.get(kind) is not None
    }
    if len(kinds) > 1:
        raise settings.error(name, "whose rope_type and type contradict each other")
    kind = next(iter(kinds), "default")
    factor = value.get("factor")
    if kind not in ("default", "linear") or (kind == "linear" and not _is_one(factor)):
        raise settings.error(name, f"and rope_type {kind!r} is not supported, only 'default' is")
    for field, setting in value.items():
        if field in (*_KINDS, "rope_theta", *_WITHOUT_EFFECT) or setting is None:
            continue
        if field not in ("factor", "partial_rotary_factor") or not _is_one(setting):
            raise settings.error(name, f"and its {shown(field)} is not supported; leave it out")


def _is_one(value: object) -> bool:
    return is_number(value) and value == 1

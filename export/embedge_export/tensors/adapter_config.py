"""adapter_config.json of a LoRA adapter, as PEFT reads it: which modules, what rank, how strong.

Takes the file, gives an `AdapterConfig`. Every field of PEFT's `LoraConfig` stands in a table:
used, allowed to have a value that plain merging reproduces, or without effect once the adapter is
trained. A field that the table does not name is refused unless it is off: what a newer PEFT knows
changes what the two matrices mean more often than not.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedge.errors import AdapterError
from embedge_export.reading.fields import (
    Fields,
    Only,
    is_number,
    is_whole,
    only,
    shown,
    unused,
    used,
)
from embedge_export.reading.files import read_json_file
from embedge_export.reading.patterns import (
    MOST_INSTRUCTIONS,
    Pattern,
    PatternError,
    compile_pattern,
)

# PEFT's own, where a field is left out.
_RANK, _ALPHA = 8, 8
_OFF: tuple[Any, ...] = (None, False, "none", "", [], {})
_NOTHING = only(*_OFF)

ADAPTER_FIELDS: Fields = {
    **used(
        "alpha_pattern",
        "exclude_modules",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "r",
        "rank_pattern",
        "target_modules",
        "use_rslora",
    ),
    **unused(
        "how the adapter was trained or kept",
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "lora_dropout",
        "peft_version",
        "revision",
        "runtime_config",
        "task_type",
    ),
    **unused(
        "settings of a start that init_lora_weights names, or does not",
        "corda_config",
        "eva_config",
        "loftq_config",
        "lora_ga_config",
    ),
    **unused(
        "a setting of something that is refused by name", "megatron_core", "qalora_group_size"
    ),
    **unused("of tables, whose adapters are refused", "ensure_weight_tying"),
    "peft_type": only("LORA"),
    # The other starts (pissa, olora, corda, loftq ...) also change the base, so that W + B @ A over
    # the published base is not what was trained.
    "init_lora_weights": only(None, True, False, "gaussian", "orthogonal", "eva"),
    "alora_invocation_tokens": _NOTHING,
    "arrow_config": _NOTHING,
    "bias": _NOTHING,
    "fan_in_fan_out": _NOTHING,
    "kasa_config": _NOTHING,
    "layer_replication": _NOTHING,
    "lora_bias": _NOTHING,
    "megatron_config": _NOTHING,
    "modules_to_save": _NOTHING,
    "monteclora_config": _NOTHING,
    "target_parameters": _NOTHING,
    "trainable_token_indices": _NOTHING,
    "use_bdlora": _NOTHING,
    "use_dora": _NOTHING,
    "use_qalora": _NOTHING,
    "velora_config": _NOTHING,
}
_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What the configuration says of a module, by PEFT's rules.

    Module names are those of training: with a "model." in front where the adapter was trained on a
    model with a head.
    """

    _rank: int
    _alpha: float
    _root: bool  # alpha over the rank's root
    _ranks: Sequence[tuple[Pattern, int]]
    _alphas: Sequence[tuple[Pattern, float]]
    _targets: Pattern | frozenset[str] | None  # None: all linear layers
    _excluded: Pattern | frozenset[str]
    _layers: frozenset[int] | None
    _layer_names: Sequence[str]

    def scaling(self, module: str) -> tuple[int, float]:
        """Rank of a module, and the factor of its B @ A; the first pattern that fits decides."""
        rank = next((v for p, v in self._ranks if p.matches(module)), self._rank)
        alpha = next((v for p, v in self._alphas if p.matches(module)), self._alpha)
        return rank, alpha / math.sqrt(rank) if self._root else alpha / rank

    def targets(self, module: str) -> bool:
        """Whether the module of a linear layer is adapted."""
        if _named_by(self._excluded, module):
            return False
        if self._targets is None:
            # Tables are no linear layers; nor is the output head meant.
            return "embed" not in module and not module.endswith("lm_head")
        if isinstance(self._targets, Pattern):
            return self._targets.matches(module)
        if module in self._targets:  # a whole name is meant, whichever layer it is in
            return True
        if not _named_by(self._targets, module):
            return False
        return self._layers is None or self._layer(module) in self._layers

    def _layer(self, module: str) -> int | None:
        """The number behind the first name of a list of layers."""
        for name in self._layer_names or [r"[^.]*"]:
            if match := re.match(rf"(?:^|.*?\.){name}\.(\d+)\.", module):
                return int(match[1])
        return None


def read_adapter_config(path: Path) -> AdapterConfig:
    """Reads and checks the file.

    Raises:
        AdapterError: plain merging does not reproduce what it says.
    """
    return _Reader(path, _read(path)).read()


def _read(path: Path) -> dict[str, Any]:
    try:
        config = read_json_file(path)
    except OSError as error:
        raise AdapterError(
            f"{path} cannot be read: {error.strerror or error}; download the adapter again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{path} is not JSON: {error}; download the adapter again") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{path} is not a JSON object; download the adapter again")
    return config


class _Reader:
    """One file's fields, each checked as it is read."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self._path = path
        self._values = values
        self._room = MOST_INSTRUCTIONS

    def read(self) -> AdapterConfig:
        self._check_fields()
        values = self._values
        rank, alpha = values.get("r", _RANK), values.get("lora_alpha", _ALPHA)
        if not _is_rank(rank):
            raise self._error("r", "not a whole number above 0")
        if not is_number(alpha) or abs(alpha) > _LARGEST:
            raise self._error("lora_alpha", "not a number")
        root = values.get("use_rslora", False)
        if root is not None and not isinstance(root, bool):
            raise self._error("use_rslora", "neither true nor false")
        return AdapterConfig(
            int(rank),
            float(alpha),
            bool(root),
            [(pattern, int(value)) for pattern, value in self._patterns("rank_pattern")],
            [(pattern, float(value)) for pattern, value in self._patterns("alpha_pattern")],
            self._targets(),
            self._names("exclude_modules", values.get("exclude_modules") or []),
            self._layers(),
            self._layer_names(),
        )

    def _check_fields(self) -> None:
        """Refuses what plain merging does not reproduce."""
        if "peft_type" not in self._values:
            raise self._error("peft_type", "and only LORA can be merged")
        for name, value in self._values.items():
            line = ADAPTER_FIELDS.get(name, _NOTHING)
            if not isinstance(line, Only):
                continue
            if not any(value is allowed or _equal(value, allowed) for allowed in line.allowed):
                why = {
                    "peft_type": "and only LORA can be merged",
                    "init_lora_weights": "which also changes the base weights",
                }.get(name, "which changes the result and is not supported")
                raise self._error(name, why)

    def _patterns(self, name: str) -> list[tuple[Pattern, float]]:
        value = self._values.get(name) or {}
        good = _is_rank if name == "rank_pattern" else _is_alpha
        if not isinstance(value, dict) or not all(map(good, value.values())):
            raise self._error(name, "not an object of numbers")
        return [(self._pattern(name, key, ending=True), number) for key, number in value.items()]

    def _pattern(self, name: str, text: str, *, ending: bool = False) -> Pattern:
        """A pattern; all of a file's together may have so many instructions."""
        try:
            pattern = compile_pattern(text, ending=ending)
        except PatternError as error:
            raise self._error(name, f"with a pattern that cannot be used: {error}") from None
        if not _NAME.fullmatch(text.replace(".", "")):  # names cost next to nothing
            self._room -= len(pattern.steps)
        if self._room < 0:
            raise self._error(name, "with more patterns than are supported")
        return pattern

    def _targets(self) -> Pattern | frozenset[str] | None:
        value = self._values.get("target_modules")
        if not isinstance(value, str):
            return self._names("target_modules", value)
        if self._values.get("layers_to_transform") is not None:
            raise self._error("layers_to_transform", "beside a pattern in target_modules")
        return None if value.lower() == "all-linear" else self._pattern("target_modules", value)

    def _names(self, name: str, value: Any) -> Pattern | frozenset[str]:
        if isinstance(value, str):
            return self._pattern(name, value)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._error(name, "neither a list of names nor a regular expression")
        return frozenset(value)

    def _layers(self) -> frozenset[int] | None:
        value = self._values.get("layers_to_transform")
        layers = [value] if is_whole(value) else value
        if layers is None or layers == []:
            return None
        if not isinstance(layers, list) or not all(map(is_whole, layers)):
            raise self._error("layers_to_transform", "neither a number nor a list of numbers")
        return frozenset(layers)

    def _layer_names(self) -> list[str]:
        value = self._values.get("layers_pattern") or []
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(
            isinstance(name, str) and _NAME.fullmatch(name) for name in names
        ):
            raise self._error("layers_pattern", "neither a name nor a list of names")
        return names

    def _error(self, name: str, reason: str) -> AdapterError:
        return AdapterError(
            f"{self._path}: {name} is {shown(self._values.get(name))}, {reason}. Merge the adapter "
            "with peft (merge_and_unload), save the model, and export that"
        )


# A factor that float32 holds, with room for what it is multiplied with.
_LARGEST = 1e30


def _is_rank(value: object) -> bool:
    return is_number(value) and value == int(value) and 1 <= value < 2**31


def _is_alpha(value: object) -> bool:
    return is_number(value) and abs(value) <= _LARGEST


def _equal(value: object, allowed: object) -> bool:
    """Equal, as PEFT's own tests take it: 0 is as off as false is."""
    return type(value) in (type(allowed), int, float) and value == allowed


def _named_by(names: Pattern | frozenset[str], module: str) -> bool:
    """A pattern is for the whole name; a list holds names or their ends."""
    if isinstance(names, Pattern):
        return names.matches(module)
    return any(module == name or module.endswith(f".{name}") for name in names)

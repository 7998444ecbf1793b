"""The head of a network, as the modules of Sentence Transformers describe it.

Takes a model folder, the parsed config.json and its family; gives the `Head`: how token vectors
become one, and to which widths that may be cut. A setting that would change the vectors and is not
reproduced is an error, never skipped. Weights are opened, and read later.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge.pack.checks import MAX_DIMENSION
from embedge_export.families.family import Family
from embedge_export.head.head import ACTIVATIONS, MEAN, Dense, Head, LayerNorm, Normalize, Step
from embedge_export.reading.fields import Fields, Settings, shown
from embedge_export.reading.json_files import read_json
from embedge_export.source import sentence_fields as tables
from embedge_export.source.files import MODULES, POOLING, STATIC
from embedge_export.source.modules import Module, read_modules, refuse_unknown
from embedge_export.source.overrides import pooling_modes
from embedge_export.tensors.checkpoint import SINGLE, open_file
from embedge_export.tensors.weights import Weights, check_tensors

_TORCH = ("torch.nn.", "torch.nn.modules.activation.", "torch.nn.modules.linear.")


def read_head(
    folder: Path,
    config: Mapping[str, Any],
    family: Family[Any],
    stated: str | None = None,
) -> tuple[Head, list[str]]:
    """How a text's rows become its vector, and what the user should know of it.

    Args:
        folder: the model's.
        config: config.json.
        family: its network's.
        stated: the pooling that counts in place of what the files say; see `Overrides`.

    Raises:
        SourceError: no file says it, or a module or setting would change the vectors.
    """
    width = family.width(folder, config)
    listed = (folder / MODULES).exists()
    modules = read_modules(folder / MODULES) if listed else ()
    pooling = {module.kind: module.place for module in modules}.get("Pooling")
    if not listed and (folder / POOLING).exists():
        pooling = Path(POOLING).parent.name
    asked = tuple(tables.POOLING_MODES[mode] for mode in pooling_modes(stated)) if stated else None
    if asked and family.pooling_is_fixed and asked != (family.pooling,):
        raise SourceError(
            f"{folder}: pooling {'+'.join(asked)} is not possible, since the model gives "
            f"no rows but their {family.pooling}; leave it out"
        )
    if pooling is not None:
        own: tuple[str, ...] | None = _read_modes(folder / pooling / "config.json", width)
    elif asked:
        own = (habit,) if (habit := _habit(config, family, listed=listed)) else None
    else:
        own = (_known_habit(folder, config, family, listed=listed),)
    notes = []
    if asked and own and asked != own:
        notes.append(
            f"{folder}: pooling {'+'.join(asked)}, as asked for, in place of {'+'.join(own)}"
        )
    taken = asked or own
    assert taken is not None
    steps = _read_steps(folder, modules, len(taken) * width)
    static = any(module.kind == STATIC for module in modules)
    if not steps and (not listed or (pooling is None and not static)):
        steps = (Normalize(),)  # in the model's own code, or by the habit of those who use it
    return Head(width, taken, steps), notes


def _known_habit(
    folder: Path, config: Mapping[str, Any], family: Family[Any], *, listed: bool
) -> str:
    """As `_habit`, which must know it."""
    if (habit := _habit(config, family, listed=listed)) is not None:
        return habit
    raise SourceError(
        f"{folder} does not say how it pools its token vectors, and a guess would give wrong ones. "
        "Pass --pooling (pooling=), such as mean or cls, as its model card says, or add "
        '1_Pooling/config.json, such as {"pooling_mode_mean_tokens": true}'
    )


def _habit(config: Mapping[str, Any], family: Family[Any], *, listed: bool) -> str | None:
    """The pooling where no file of Sentence Transformers says it; None if it is not known."""
    if family.pooling is not None:
        return family.pooling  # done by the model's own code
    if config.get("emb_pooler") == "mean":
        return MEAN  # likewise
    return None if listed else family.usual_pooling


def _read_modes(path: Path, width: int) -> tuple[str, ...]:
    settings = _settings(path, tables.POOLING_FIELDS)
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


def _read_steps(folder: Path, modules: Sequence[Module], width: int) -> tuple[Step, ...]:
    """What stands behind the pooling, which gives rows of this width."""
    steps: list[Step] = []
    for module in modules:
        place = folder / module.place
        if module.kind == "Normalize":
            if module.place:
                path = place / "config.json"
                Settings(read_json(path), tables.NORMALIZE_FIELDS, file=str(path))
            steps.append(Normalize())
        elif module.kind == "LayerNorm":
            steps.append(_read_layer_norm(place, width))
        elif module.kind == "Dense":
            dense = _read_dense(place, width)
            width = dense.outputs
            steps.append(dense)
    return tuple(steps)


def _read_dense(place: Path, width: int) -> Dense:
    settings = _settings(place / "config.json", tables.DENSE_FIELDS)
    inputs = _width(settings, "in_features", width)
    outputs = settings.size("out_features", most=MAX_DIMENSION)
    name = settings.get("activation_function")
    if "activation_function" not in settings.values:
        name = "torch.nn.Tanh"
    kind = name.rpartition(".")[2] if isinstance(name, str) else ""
    if kind not in ACTIVATIONS or name not in [f"{library}{kind}" for library in _TORCH]:
        raise settings.error(
            "activation_function",
            f"which is not supported; torch's {', '.join(ACTIVATIONS)} are "
            f'("torch.nn.modules.activation.{ACTIVATIONS[1]}")',
        )
    bias = settings.flag("bias", default=True)
    residual = settings.flag("use_residual", default=False)
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (outputs, inputs)}
    if bias:
        shapes["linear.bias"] = (outputs,)
    if residual and inputs != outputs:
        shapes["residual.weight"] = (outputs, inputs)
    return Dense(
        inputs=inputs,
        outputs=outputs,
        activation=kind,
        bias=bias,
        residual=residual,
        weights=_open(place, shapes, "a Dense module"),
    )


def _read_layer_norm(place: Path, width: int) -> LayerNorm:
    settings = _settings(place / "config.json", tables.LAYER_NORM_FIELDS)
    shapes = dict.fromkeys(("norm.weight", "norm.bias"), (_width(settings, "dimension", width),))
    return LayerNorm(width=width, weights=_open(place, shapes, "a LayerNorm module"))


def _settings(path: Path, fields: Fields) -> Settings:
    values = read_json(path)
    settings = Settings(values, fields, file=str(path))
    refuse_unknown(path, values, fields)
    return settings


def _width(settings: Settings, name: str, width: int) -> int:
    """A field that must say how wide the rows are that the module reads."""
    if settings.size(name) != width:
        raise settings.error(
            name, f"and what stands before it gives {width}: the files are not of one model"
        )
    return width


def _open(place: Path, shapes: Mapping[str, tuple[int, ...]], what: str) -> Weights:
    """The weights of a module, of these shapes alone."""
    path = place / SINGLE
    if not path.exists():
        pickle = place / "pytorch_model.bin"
        found = f" ({pickle.name} is pickle, which can run code: not read)"
        raise SourceError(
            f"{place} has no {SINGLE}{found if pickle.exists() else ''}. With "
            "sentence-transformers, SentenceTransformer(FOLDER).save(NEW_FOLDER) writes it"
        )
    weights = open_file(path)
    try:
        check_tensors(weights, shapes.items(), f"{what} of its config.json")
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None
    return weights


def read_widths(
    folder: Path, config: Mapping[str, Any], family: Family[Any], width: int
) -> tuple[int, ...]:
    """Widths that vectors were trained to be cut to; `width` is that of a whole one."""
    dimensions = config.get("matryoshka_dimensions")
    if dimensions is None:
        return tuple(dimension for dimension in family.dimensions if dimension <= width)
    if not isinstance(dimensions, list) or not all(
        isinstance(d, int) and not isinstance(d, bool) and 0 < d <= width for d in dimensions
    ):
        raise SourceError(
            f'{folder / "config.json"}: "matryoshka_dimensions" {shown(dimensions)} is not a '
            f"list of widths up to {width}"
        )
    return tuple(dimensions)

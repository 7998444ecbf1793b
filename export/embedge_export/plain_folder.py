"""One plain model folder: a task's weights with its adapter merged in, and the settings.

Takes an opened source, a task and an empty folder. Writes what vLLM, TEI, llama.cpp's converter,
Sentence Transformers and transformers read: safetensors, the configuration of the plain network,
the tokenizer and the Sentence Transformers files. One tensor is in memory at a time. It knows
nothing of graphs, nor of what stood in the folder before.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.errors import ExportError, SourceError
from embedge_export.families.register import FAMILIES, family_of
from embedge_export.head.head import Head
from embedge_export.source.files import COPIED, TOKENIZER_CONFIG, module_files
from embedge_export.source.modules import Module, modules_behind
from embedge_export.source.record import Source
from embedge_export.source.sentence_fields import POOLING_FLAGS, POOLING_MODES
from embedge_export.source.tokenizer.settings import open_tokenizer_files
from embedge_export.tensors.checkpoint import DTYPES, SINGLE, open_weights
from embedge_export.tensors.lora import MergedWeights, load_adapter
from embedge_export.tensors.writer import write_file

# Fields that point to a model's own code, or to what is merged now.
_DROPPED = ("auto_map", "task_names", "_name_or_path")
_UNLIMITED = 10**18  # what transformers writes for a tokenizer without a limit is larger
OnTensor = Callable[[str, int, int], None]  # task, tensors written, tensors in all


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The dtype of that name that weights can be written in.

    Raises:
        ExportError: none has it.
    """
    kinds = {str(kind): kind for kind in DTYPES.values()}
    if name not in kinds:
        raise ExportError(f"dtype {name!r} is unknown; one of {', '.join(kinds)} can be written")
    return kinds[name]


def write_plain_folder(
    source: Source,
    task: str,
    folder: Path,
    *,
    dtype: str,
    noted: Mapping[str, Any] | None = None,
    progress: OnTensor | None = None,
) -> None:
    """Writes one task's plain model into a folder that is there, as `write_merged` does.

    `noted` are further fields of its config.json.
    """
    base = open_weights(source.weights_folder)
    adapter = load_adapter(source.adapters[task], base) if task in source.adapters else None
    # An output head has no place in the plain network, and a buffer is no weight.
    keys = [
        key
        for key in sorted(base.keys())
        if not key.startswith("lm_head.") and base.dtype(key) in map(str, DTYPES.values())
    ]
    _write_weights(
        folder / SINGLE, MergedWeights(base, adapter), keys, numpy_dtype(dtype), task, progress
    )
    _write_settings(source, plain_config(source.config, dtype) | dict(noted or {}), folder)


def plain_config(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """config.json of the network alone, as transformers loads it without a model's own code."""
    network, name = plain_class(config)
    plain = {key: value for key, value in config.items() if key not in _DROPPED}
    plain |= {"architectures": [name], "model_type": network}
    plain["dtype" if "dtype" in plain else "torch_dtype"] = dtype
    rotary = plain.get("rope_parameters")
    if isinstance(rotary, Mapping) and plain.get("rope_theta") is None:
        # Where programs before transformers 5 look for it; they take a default without a word.
        plain["rope_theta"] = rotary.get("rope_theta")
    return plain


def plain_class(config: Mapping[str, Any]) -> tuple[str, str]:
    """The model_type of a network's plain form, and the class that loads it.

    Raises:
        SourceError: it has no plain form.
    """
    form = family_of(config).plain_form(config)
    if form is None:
        known = [name for name, family in FAMILIES.items() if family.plain_form({}) is not None]
        raise SourceError(
            f"no plain form of model_type {config['model_type']!r} is known; "
            f"{', '.join(known[:-1])} and {known[-1]} can be merged"
        )
    return form


def _write_weights(
    path: Path,
    weights: MergedWeights,
    keys: Sequence[str],
    dtype: np.dtype[Any],
    task: str,
    progress: OnTensor | None,
) -> None:
    shapes = {key: weights.shape(key) for key in keys}
    written = 0

    def read(key: str) -> NDArray[Any]:
        nonlocal written
        value = weights.read(key)
        if dtype == np.float16 and value.size and not np.abs(value).max() <= 65504:
            raise ExportError(
                f"tensor {key!r} of task {task!r} does not fit float16; write bfloat16 or float32"
            )
        written += 1
        if progress is not None:
            progress(task, written, len(shapes))
        return value.astype(dtype)  # bfloat16: to nearest even

    write_file(path, shapes, read, dtype=dtype)


def _write_settings(source: Source, config: Mapping[str, Any], folder: Path) -> None:
    def write(name: str, value: Any) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    write("config.json", config)
    write(
        "config_sentence_transformers.json",
        {
            "prompts": dict(source.prompts),
            "default_prompt_name": source.default_prompt,
            "similarity_fn_name": "cosine",
        },
    )
    write(
        "sentence_bert_config.json", {"max_seq_length": source.max_length, "do_lower_case": False}
    )
    behind = modules_behind(source.folder)
    if not behind and source.head.normalizes:
        behind = (Module("Normalize", ""),)
    kinds = ["Transformer", "Pooling", *(module.kind for module in behind)]
    places = ["", *(f"{index}_{kind}" for index, kind in enumerate(kinds) if index)]
    write(
        "modules.json",
        [
            {
                "idx": index,
                "name": str(index),
                "path": place,
                "type": f"sentence_transformers.models.{kind}",
            }
            for index, (kind, place) in enumerate(zip(kinds, places, strict=True))
        ],
    )
    write("1_Pooling/config.json", _pooling_settings(source.head))
    for module, place in zip(behind, places[2:], strict=True):
        (folder / place).mkdir()  # is looked for where there are no settings, too
        for name in module_files(module.place):
            if module.place and (source.folder / name).exists():
                shutil.copyfile(source.folder / name, folder / place / Path(name).name)
    for name in COPIED:
        if (source.folder / name).exists():
            shutil.copyfile(source.folder / name, folder / name)  # follows a cache's links
    if missing := _missing_settings(source):
        write(TOKENIZER_CONFIG, {**open_tokenizer_files(folder).config.values, **missing})


def _missing_settings(source: Source) -> dict[str, Any]:
    """Fields of tokenizer_config.json that the source lacks and that other programs insist on."""
    files, missing = open_tokenizer_files(source.folder), dict[str, Any]()
    if files.token("pad_token") is None:  # any will do, since the mask hides it
        missing["pad_token"] = files.tokenizer.id_to_token(source.pad_token_id)
    longest = files.config.values.get("model_max_length")
    if not isinstance(longest, (int, float)) or longest >= _UNLIMITED:
        missing["model_max_length"] = source.max_length
    return missing


def _pooling_settings(head: Head) -> dict[str, Any]:
    """The pooling's config.json. Flags, which every version reads, unless they lose the order."""
    names = {mode: name for name, mode in POOLING_MODES.items()}
    modes = [names[mode] for mode in head.modes]
    settings: dict[str, Any] = {"word_embedding_dimension": head.hidden_size}
    settings |= {flag: mode in modes for flag, mode in POOLING_FLAGS.items()}
    if modes != [mode for mode in POOLING_FLAGS.values() if mode in modes]:
        settings["pooling_mode"] = modes
    return settings

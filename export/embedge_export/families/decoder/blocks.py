"""The layers of Qwen3, Qwen2, Llama and EuroBERT: read from a checkpoint, and rotated.

All have one layout: q/k norm in Qwen3 alone, q/k/v biases in Qwen2. Reference: transformers' models
of these names.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedge_export.families.decoder.config import NetworkConfig
from embedge_export.families.family import TextTask
from embedge_export.families.linears import read_linear
from embedge_export.graph.layers import Linear
from embedge_export.numbers.calibration import take_rows
from embedge_export.numbers.rotation import Rotation

Gain = NDArray[np.float32]
# The linears that are the first to read their rows: q, k and v read the same, and gate and up.
CALIBRATED = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer's weights, float32. A gain of None is folded into the linear after it."""

    input_gain: Gain | None  # (hidden,)
    query: Linear
    key: Linear
    value: Linear
    query_gain: Gain | None  # (head_dim,)
    key_gain: Gain | None  # (head_dim,)
    attention_output: Linear
    post_attention_gain: Gain | None  # (hidden,)
    gate: Linear
    up: Linear
    down: Linear

    def rotated(self, rotation: Rotation, head_dim: int) -> "Layer":
        """The same function on a rotated residual stream, with gain-free norms.

        The values are turned too, each head by itself: attention only averages them, so the output
        linear turns them back.
        """
        block = head_dim & -head_dim

        def after_norm(linear: Linear, gain: Gain | None) -> Linear:
            assert gain is not None
            return linear.absorbing_norm(gain).for_rotated_input(rotation)

        return replace(
            self,
            input_gain=None,
            query=after_norm(self.query, self.input_gain),
            key=after_norm(self.key, self.input_gain),
            value=after_norm(self.value, self.input_gain).with_mixed_output(block),
            attention_output=(
                self.attention_output.for_mixed_input(block).with_rotated_output(rotation)
            ),
            post_attention_gain=None,
            gate=after_norm(self.gate, self.post_attention_gain),
            up=after_norm(self.up, self.post_attention_gain),
            down=self.down.with_rotated_output(rotation),
        )


def read_layer(config: NetworkConfig, task: TextTask, index: int) -> Layer:
    """Reads one layer; the rows that it reads are taken out of the task's samples."""
    prefix = f"layers.{index}"
    attention, output, mlp, product = take_rows(task.samples, prefix, CALIBRATED)
    linear = partial(read_linear, task, prefix)

    def gain(name: str) -> Gain:
        return task.weights.read(f"{prefix}.{name}.weight")

    return Layer(
        input_gain=gain("input_layernorm"),
        query=linear("query", "self_attn.q_proj", attention),
        key=linear("key", "self_attn.k_proj", attention),
        value=linear("value", "self_attn.v_proj", attention),
        query_gain=gain("self_attn.q_norm") if config.query_key_norm else None,
        key_gain=gain("self_attn.k_norm") if config.query_key_norm else None,
        attention_output=linear("attention_output", "self_attn.o_proj", output),
        post_attention_gain=gain("post_attention_layernorm"),
        gate=linear("gate", "mlp.gate_proj", mlp),
        up=linear("up", "mlp.up_proj", mlp),
        down=linear("down", "mlp.down_proj", product),
    )

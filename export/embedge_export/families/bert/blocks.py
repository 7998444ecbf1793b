"""The layers of BERT, XLM-RoBERTa and jina-embeddings-v3 encoders, read from a checkpoint.

One layout for all: LayerNorm after each sum, biases everywhere. Tensors under the names of
names.py. Sources: BERT arXiv 1810.04805, jina-embeddings-v3 arXiv 2409.10173; reference:
transformers' models of these names.
"""

from dataclasses import dataclass
from functools import partial

from embedge_export.families.family import TextTask
from embedge_export.families.linears import read_linear
from embedge_export.graph.layer_norm import Norm, read_norm
from embedge_export.graph.layers import Linear
from embedge_export.numbers.calibration import take_rows

# One linear of each row of inputs there is: key and value read what query reads.
CALIBRATED = ("self_attn.q_proj", "self_attn.o_proj", "mlp.fc1", "mlp.fc2")


@dataclass(frozen=True, slots=True, kw_only=True)
class BertLayer:
    """One layer's weights, float32."""

    query: Linear
    key: Linear
    value: Linear
    attention_output: Linear
    attention_norm: Norm
    inner: Linear
    outer: Linear
    mlp_norm: Norm


def read_bert_layer(task: TextTask, index: int) -> BertLayer:
    """Reads one layer; see the decoder's `read_layer`.

    What the linears read is normed with gain and bias already, and no rotation is folded in, so
    the reference's rows are in the weights' own coordinates.
    """
    prefix = f"layers.{index}"
    attention, output, mlp, product = take_rows(task.samples, prefix, CALIBRATED)
    linear = partial(read_linear, task, prefix)
    return BertLayer(
        query=linear("query", "self_attn.q_proj", attention),
        key=linear("key", "self_attn.k_proj", attention),
        value=linear("value", "self_attn.v_proj", attention),
        attention_output=linear("attention_output", "self_attn.o_proj", output),
        attention_norm=read_norm(task.weights, f"{prefix}.post_attention_layernorm"),
        inner=linear("inner", "mlp.fc1", mlp),
        outer=linear("outer", "mlp.fc2", product),
        mlp_norm=read_norm(task.weights, f"{prefix}.post_mlp_layernorm"),
    )

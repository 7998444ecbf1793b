"""A GGUF file's config and tensors under the names that transformers gives a Llama.

Takes gguf's reader; gives config.json and float32 arrays. Knows Llama only: other networks have
other names, and other rows that llama.cpp reorders. Source: convert_hf_to_gguf.py of llama.cpp,
whose way is gone back here.
"""

import re
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",  # absent where it is tied to the embeddings
}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


def field(reader: GGUFReader, key: str, default: Any = None) -> Any:
    """A value of the file's metadata.

    Raises:
        ValueError: it is not there, and there is no default.
    """
    found = reader.get_field(key)
    if found is not None:
        return found.contents()
    if default is None:
        raise ValueError(f"the GGUF file has no {key!r}")
    return default


def read_config(reader: GGUFReader) -> dict[str, Any]:
    """config.json of the network.

    Raises:
        ValueError: it is no plain Llama.
    """
    if (kind := field(reader, "general.architecture")) != "llama":
        raise ValueError(f"the GGUF file holds a {kind} network; only llama is translated here")
    heads = field(reader, "llama.attention.head_count")
    hidden = field(reader, "llama.embedding_length")
    width = field(reader, "llama.rope.dimension_count", hidden // heads)
    if reader.get_field("llama.rope.scaling.type") is not None or width != hidden // heads:
        raise ValueError("the GGUF file scales its rotary positions, which is not translated here")
    epsilon = np.float32(field(reader, "llama.attention.layer_norm_rms_epsilon"))
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
        "head_dim": width,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": field(reader, "llama.feed_forward_length"),
        "max_position_embeddings": field(reader, "llama.context_length"),
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": field(reader, "llama.block_count"),
        "num_key_value_heads": field(reader, "llama.attention.head_count_kv", heads),
        "rms_norm_eps": float(str(epsilon)),  # 1e-05, not what float32 makes of it
        "rope_theta": field(reader, "llama.rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": field(reader, "llama.vocab_size"),
    }


def read_tensors(reader: GGUFReader, config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Every tensor, dequantized, under its name in transformers.

    Raises:
        ValueError: there is one without a name there.
    """
    heads = {
        "attn_q": config["num_attention_heads"],
        "attn_k": config["num_key_value_heads"],
    }
    tensors = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        inside = _LAYER.fullmatch(tensor.name)
        if inside is not None and inside[2] in _IN_LAYER:
            name = f"model.layers.{inside[1]}.{_IN_LAYER[inside[2]]}.weight"
            if inside[2] in heads:
                values = halves(values, heads[inside[2]])
        elif tensor.name in _OUTSIDE:
            name = _OUTSIDE[tensor.name]
        else:
            raise ValueError(f"the GGUF file has a tensor {tensor.name!r} that no Llama has")
        tensors[name] = np.ascontiguousarray(values)
    return tensors


def halves(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Puts a query's or key's rows in transformers' order.

    llama.cpp turns neighboring rows of a head by one angle (0 and 1, 2 and 3, …), transformers
    those half a head apart (0 and d/2, 1 and d/2 + 1, …).

    Args:
        rows: (heads * d, hidden), neighbors in pairs.
        heads: how many heads they are of.
    """
    pairs = rows.reshape(heads, -1, 2, rows.shape[1])  # (heads, d/2, 2, hidden)
    return pairs.swapaxes(1, 2).reshape(rows.shape)

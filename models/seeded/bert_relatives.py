"""DistilBERT: BERT's network under names of its own, without token types and pooler.

Takes sizes; gives the plan (key -> shape and spread, see tensors.py) and config.json.
"""

from typing import Any

from seeded.bert_layouts import EncoderSize, plain_plan
from seeded.tensors import Plan


def distilbert_plan(size: EncoderSize, *, positions: int) -> Plan:
    """DistilBERT's layout, with the head of its masked language model."""
    names = {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "output": "attention.out_lin",
        "inner": "ffn.lin1",
        "outer": "ffn.lin2",
        "norm1": "sa_layer_norm",
        "norm2": "output_layer_norm",
    }
    plan = dict(plain_plan(size, "transformer.layer", names, positions=positions, types=0))
    plan["vocab_transform.weight"] = ((size.hidden, size.hidden), 0.1)
    plan["vocab_layer_norm.bias"] = ((size.hidden,), 0.1)
    return plan


def distilbert_config(size: EncoderSize) -> dict[str, Any]:
    """config.json of DistilBERT."""
    return {
        "activation": "gelu",
        "architectures": ["DistilBertModel"],
        "attention_dropout": 0.1,
        "dim": size.hidden,
        "dropout": 0.1,
        "hidden_dim": size.intermediate,
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "model_type": "distilbert",
        "n_heads": size.heads,
        "n_layers": size.layers,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "vocab_size": size.vocab,
    }

"""DistilBERT and MPNet: BERT's network under other names, and without token types.

MPNet adds a number to each score by the distance of two tokens, and counts positions as RoBERTa
does. Takes sizes; gives plans (key -> shape and spread, see tensors.py), config.json and MPNet's
tokenizer.
"""

from typing import Any

from tokenizers import Tokenizer

from seeded.bert_layouts import EncoderSize, bert_tokenizer, plain_plan
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


def mpnet_plan(size: EncoderSize, *, positions: int) -> Plan:
    """MPNet's layout, with the pooler that sentence embeddings do not use."""
    names = {
        "query": "attention.attn.q",
        "key": "attention.attn.k",
        "value": "attention.attn.v",
        "output": "attention.attn.o",
        "inner": "intermediate.dense",
        "outer": "output.dense",
        "norm1": "attention.LayerNorm",
        "norm2": "output.LayerNorm",
    }
    plan = dict(plain_plan(size, "encoder.layer", names, positions=positions, types=0))
    plan["encoder.relative_attention_bias.weight"] = ((32, size.heads), 1.0)
    plan["pooler.dense.weight"] = ((size.hidden, size.hidden), 0.1)
    plan["pooler.dense.bias"] = ((size.hidden,), 0.1)
    return plan


def mpnet_config(size: EncoderSize) -> dict[str, Any]:
    """config.json of MPNet."""
    return {
        "architectures": ["MPNetForMaskedLM"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": size.hidden,
        "initializer_range": 0.02,
        "intermediate_size": size.intermediate,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 514,
        "model_type": "mpnet",
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "pad_token_id": 1,
        "relative_attention_num_buckets": 32,
        "vocab_size": size.vocab,
    }


def mpnet_tokenizer() -> Tokenizer:
    """BERT's word pieces with RoBERTa's tokens: <s> 0, <pad> 1, </s> 2."""
    return bert_tokenizer(("<s>", "<pad>", "</s>", "[UNK]", "<mask>"), "<s>", "</s>")

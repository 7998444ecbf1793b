"""Writes what was trained as a model folder, as Sentence Transformers saves a BERT with a Dense."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from mini.adapt import RANK
from mini.network import ADAPTED, Shape
from mini.targets import WIDTHS
from mini.vocabulary import SPECIAL
from seeded.files import staged, write_json, write_modules, write_pooling
from seeded.tensors import adapter_config

NAME = "embedge-mini"


def write(
    folder: Path,
    shape: Shape,
    weights: Mapping[str, Tensor],
    adapters: Mapping[str, Mapping[str, Tensor]],
    tokenizer: Path,
    card: str,
) -> None:
    """Writes the folder, bfloat16, replacing one of this model.

    Args:
        folder: the model's.
        shape: of the network.
        weights: of the base.
        adapters: task -> matrices as `adapt` writes them.
        tokenizer: tokenizer.json.
        card: README.md.
    """
    assert shape.width is not None
    ids = Tokenizer.from_file(str(tokenizer)).get_vocab(with_added_tokens=True)
    with staged(folder, replacing=NAME) as part:
        write_json(part / "config.json", _config(shape, ids, list(adapters)))
        shutil.copyfile(tokenizer, part / "tokenizer.json")
        write_json(part / "tokenizer_config.json", _tokenizer_config(shape))
        write_json(part / "sentence_bert_config.json", {"max_seq_length": shape.positions})
        write_json(
            part / "config_sentence_transformers.json",
            # Names that callers ask for; the network needs no text for them.
            {
                "prompts": {"query": "", "document": ""},
                "default_prompt_name": "document",
                "similarity_fn_name": "cosine",
            },
        )
        write_pooling(part, shape.hidden, "mean_tokens")
        kinds = ("Transformer", "Pooling", "Dense", "Normalize")
        write_modules(part, [f"sentence_transformers.models.{kind}" for kind in kinds])
        (part / "README.md").write_text(card, encoding="utf-8")
        dense = part / "2_Dense"
        dense.mkdir()
        write_json(
            dense / "config.json",
            {
                "in_features": shape.hidden,
                "out_features": shape.width,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        )
        base = {name: tensor for name, tensor in weights.items() if name != "dense.weight"}
        _save(part / "model.safetensors", base)
        _save(dense / "model.safetensors", {"linear.weight": weights["dense.weight"]})
        for task, matrices in adapters.items():
            place = part / "adapters" / task
            place.mkdir(parents=True)
            _save(
                place / "adapter_model.safetensors",
                {f"base_model.model.{name}.weight": tensor for name, tensor in matrices.items()},
            )
            config = adapter_config(NAME, RANK, 0.0) | {
                "target_modules": ["query", "key", "value", "dense"],
                "layers_to_transform": list(range(shape.layers - ADAPTED, shape.layers)),
                "layers_pattern": ["layer"],
            }
            write_json(place / "adapter_config.json", config)


def _config(shape: Shape, ids: Mapping[str, int], tasks: list[str]) -> dict[str, object]:
    assert shape.width is not None
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate,
        "layer_norm_eps": shape.epsilon,
        "matryoshka_dimensions": [width for width in WIDTHS if width <= shape.width],
        "max_position_embeddings": shape.positions,
        "model_type": "bert",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "pad_token_id": ids["[PAD]"],
        "position_embedding_type": "absolute",
        "task_names": tasks,
        "torch_dtype": "bfloat16",
        "type_vocab_size": shape.types,
        "vocab_size": shape.vocab,
    }


def _tokenizer_config(shape: Shape) -> dict[str, object]:
    named = zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True)
    return {
        "do_lower_case": True,
        "model_max_length": shape.positions,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
        **{f"{name}_token": token for name, token in named},
    }


def _save(file: Path, tensors: Mapping[str, Tensor]) -> None:
    found = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    save_file(found, file, metadata={"format": "pt"})

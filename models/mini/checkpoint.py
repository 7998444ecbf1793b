"""Writes what was trained as a model folder, in jina-embeddings-v5-text-small's exact layout."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from mini.adapt import RANK
from mini.network import Shape
from seeded.decoder_layouts import Dimensions, v5_text_small_config
from seeded.files import QWEN_TOKENS, staged, tokenizer_config, write_json, write_v5_files
from seeded.tensors import adapter_config

NAME = "embedge-mini"
POSITIONS = 2048  # rotary tables end there; training saw texts of 512 tokens at most


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
    ids = Tokenizer.from_file(str(tokenizer)).get_vocab(with_added_tokens=True)
    dims = Dimensions(
        hidden=shape.hidden, layers=shape.layers, heads=shape.heads, kv_heads=shape.heads,
        head_dim=shape.head_dim, intermediate=shape.intermediate, vocab=shape.vocab, rank=RANK,
    )  # fmt: skip
    with staged(folder, replacing=NAME) as part:
        config = v5_text_small_config(dims, ids)
        config |= {"max_position_embeddings": POSITIONS, "task_names": list(adapters)}
        config |= {"rope_theta": int(shape.rope_theta), "rms_norm_eps": shape.epsilon}
        write_json(part / "config.json", config)
        shutil.copyfile(tokenizer, part / "tokenizer.json")
        write_json(
            part / "tokenizer_config.json",
            tokenizer_config(
                "Qwen2Tokenizer", eos=QWEN_TOKENS[2], pad=QWEN_TOKENS[0], limit=POSITIONS
            ),
        )
        write_v5_files(part, NAME)
        (part / "README.md").write_text(card, encoding="utf-8")
        save_file(
            {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights.items()},
            part / "model.safetensors",
            metadata={"format": "pt"},
        )
        for task, matrices in adapters.items():
            place = part / "adapters" / task
            place.mkdir(parents=True)
            save_file(
                {
                    f"base_model.model.{name}.weight": tensor.to(torch.bfloat16).contiguous()
                    for name, tensor in matrices.items()
                },
                place / "adapter_model.safetensors",
                metadata={"format": "pt"},
            )
            write_json(place / "adapter_config.json", adapter_config(NAME, RANK, 0.0))

"""The outside world: a source folder run by transformers and peft, as the models' own code does.

Takes folders in their Hugging Face layout, gives pooled vectors (n, D) float32. Nothing
of embedge is used here: not its tokenizer, not its prompts, not its merging.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    EuroBertConfig,
    EuroBertModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
)

Network = Callable[..., Any]
# What config_sentence_transformers.json and the model's own encode() say (FACTS A8 in short:
# all four tasks use both, "document" is the default).
PROMPTS = {"query": "Query: ", "document": "Document: "}


def open_tokenizer(folder: Path, *, side: str = "right") -> PreTrainedTokenizerFast:
    """transformers' own road to tokenizer.json, padding on the right unless told otherwise."""
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        pad_token=settings.get("pad_token", settings["eos_token"]),
        padding_side=side,
    )


def open_v5(folder: Path, *, adapters: bool = True, **changes: Any) -> Network:
    """A v5 model, small a Qwen3Model and nano a EuroBertModel, and every task's adapter by peft.

    Args:
        folder: the source; its keys have no "model." and its model_type is Jina's own, so the
            configuration and the weights are handed over one by one.
        adapters: whether to load them; `set_adapter(task)` then chooses one.
        changes: fields of config.json to change, to see that a comparison notices.
    """
    config = json.loads((folder / "config.json").read_text())
    config |= changes
    if config.get("is_decoder") is False:
        network = EuroBertModel(EuroBertConfig(**config))
    else:
        network = Qwen3Model(Qwen3Config(**config))
    network.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    network = network.float().eval()
    if not adapters:
        return network
    first, *others = config["task_names"]
    adapted = PeftModel.from_pretrained(network, folder / "adapters" / first, adapter_name=first)
    for task in others:
        adapted.load_adapter(folder / "adapters" / task, adapter_name=task)
    return adapted.eval()


def open_decoder(folder: Path) -> Network:
    """Any plain checkpoint, in float32."""
    return AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


def encode(
    network: Network,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    *,
    prompt: str = "",
    max_length: int = 32768,
    mean: bool = False,
) -> NDArray[np.float32]:
    """As the model's own encode(): pad, run, pool; `cut` then does the rest."""
    batch = tokenizer(
        [prompt + text for text in texts],
        padding=True,
        truncation=True,
        max_length=max_length,
        return_tensors="pt",
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]
    return run(network, ids, mask, mean=mean).numpy()


def cut(vectors: NDArray[np.float32], width: int | None = None) -> NDArray[np.float32]:
    """Slices, then normalizes: (n, D) -> (n, width)."""
    return torch.nn.functional.normalize(torch.from_numpy(vectors)[:, :width], p=2, dim=-1).numpy()


def run(
    network: Network, ids: torch.Tensor, mask: torch.Tensor, *, mean: bool = False
) -> torch.Tensor:
    """Pooled vectors (B, D) of ids and mask (B, S), by last token or mean, not normalized."""
    with torch.inference_mode():
        hidden = network(input_ids=ids, attention_mask=mask).last_hidden_state
    if mean:
        return (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    places = torch.arange(mask.shape[1]) * mask  # the largest with a token, wherever padding is
    return hidden[torch.arange(len(hidden)), places.argmax(dim=1)]


def agreement(got: NDArray[np.float32], expected: NDArray[np.float32]) -> tuple[float, float]:
    """The lowest cosine and the largest difference of any component, of unit vectors."""
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype == np.float32
    cosines = np.sum(got.astype(np.float64) * expected, axis=-1)
    cosines /= np.linalg.norm(got.astype(np.float64), axis=-1)
    cosines /= np.linalg.norm(expected.astype(np.float64), axis=-1)
    return float(cosines.min()), float(np.abs(got - expected).max())

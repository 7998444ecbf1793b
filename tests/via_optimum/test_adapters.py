"""LoRA adapters that peft trained, merged into graphs of a task each."""

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers

from embedge import Embedder
from embedge.errors import AdapterError
from embedge.pack.reading import read_manifest
from embedge_export import export_pack
from embedge_export.truth import Array
from via_optimum.encoders import LONGEST, write_encoder

TASKS = ("clustering", "retrieval")
TEXTS = ["a text", "The quick brown fox jumps over the lazy dog."]


def write_adapter(source: Path, task: str, seed: int) -> None:
    torch.manual_seed(seed)
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["query", "dense"])
    network = transformers.AutoModel.from_pretrained(source)
    adapted = peft.get_peft_model(network, settings)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(source / "adapters" / task)


def expected(source: Path, task: str) -> Array:
    """Means of the rows that peft's own network gives, of length 1."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    network = transformers.AutoModel.from_pretrained(source)
    adapted = peft.PeftModel.from_pretrained(network, source / "adapters" / task).eval()
    vectors = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=LONGEST)
        ids.pop("token_type_ids", None)
        with torch.no_grad():
            vectors.append(adapted(**ids)[0][0].mean(dim=0).numpy())
    stacked = np.stack(vectors)
    return np.asarray(stacked / np.linalg.norm(stacked, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_encoder(tmp_path_factory.mktemp("adapters") / "source", "electra")
    for seed, task in enumerate(TASKS):
        write_adapter(folder, task, seed)
    return folder


def test_each_task_has_its_adapter_and_the_rest_is_shared(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    manifest = export_pack(source, out=out, via="optimum", precisions=["fp32", "int8"])
    assert manifest.tasks == TASKS
    with Embedder(out, precision="fp32", device="cpu") as embedder:
        for task in TASKS:
            vectors = embedder.encode(TEXTS, task=task)
            assert (vectors * expected(source, task)).sum(axis=1).min() > 0.99999
        apart = embedder.encode(TEXTS, task=TASKS[0]) @ embedder.encode(TEXTS, task=TASKS[1]).T
        assert np.diag(apart).max() < 0.9999
    for precision in manifest.precisions():
        shared = (out / f"shared.{precision}.data").stat().st_size
        own = [(out / f"{task}.{precision}.data").stat().st_size for task in TASKS]
        assert shared > 0
        assert min(own) > 0
    # Tasks that are made again alone give the same graphs.
    again = export_pack(
        source, out=tmp_path / "one", via="optimum", precisions=["fp32"], tasks=[TASKS[1]]
    )
    assert again.tasks == TASKS[1:]


def test_an_adapter_of_other_modules_is_refused(source: Path, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "source", "mpnet")
    (folder / "adapters").symlink_to(source / "adapters")
    with pytest.raises(AdapterError, match="which the base model does not have"):
        export_pack(folder, out=tmp_path / "pack", via="optimum", precisions=["fp32"])


def test_the_manifest_says_how_it_was_made(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    export_pack(source, out=out, via="optimum", precisions=["fp32"], tasks=[TASKS[0]])
    manifest = read_manifest(out)
    assert manifest.source["via"] == "optimum"
    assert set(manifest.written_by) >= {"optimum-onnx", "torch", "transformers"}
    assert json.loads((out / "manifest.json").read_text())["family"] == "electra"

"""Every kind of model folder that can be exported, tiny, with files beside it that nobody reads."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import seeded
from support.heads import LAYER_NORM, NORMALIZE, dense, write_head

# Files that other programs read, or nobody does: a reader that begins to must have them registered.
BESIDE = {
    "added_tokens.json": "{}",
    "chat_template.json": "{}",
    "chat_template.jinja": "",
    "data_config.json": "{}",
    "generation_config.json": "{}",
    "merges.txt": "",
    "modeling_own.py": "raise SystemExit('code of a model was run')",
    "processor_config.json": "{}",
    "sentence_roberta_config.json": "{}",
    "sentence_xlnet_config.json": "{}",
    "training_args.bin": "",
    "vocab.json": "{}",
    "vocab.txt": "",
    "LICENSE": "all rights",
    "1_Pooling/notes.txt": "",
    "3_Unused/config.json": "{}",
    "onnx/config.json": "{}",
    ".git/config.json": "{}",
    ".ipynb_checkpoints/config.json": "{}",
}


def _write_roberta(folder: Path) -> None:
    seeded.write_bert(folder, "xlm-roberta")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "roberta"}))


def _write_limited(folder: Path) -> None:
    """Sentence Transformers' own limit, and a pad token in a file of its own."""
    seeded.write_bert(folder)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 64}')
    (folder / "special_tokens_map.json").write_text('{"pad_token": "[PAD]"}')


def _write_with_adapters(folder: Path) -> None:
    """A plain decoder with adapters that its config does not name."""
    seeded.write_v5_text_small(folder)
    other = folder.with_name(f"{folder.name}.other")
    shutil.copytree(seeded.write_decoder(other, "qwen3") / "1_Pooling", folder / "1_Pooling")
    shutil.copy(other / "modules.json", folder)
    shutil.rmtree(other)
    config = json.loads((folder / "config.json").read_text())
    config = {k: v for k, v in config.items() if k not in ("task_names", "auto_map")}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen3"}))
    adapters = folder / "adapters"
    shutil.copytree(adapters / "retrieval", adapters / ".ipynb_checkpoints")


def _write_odd_pooling(folder: Path) -> None:
    """The pooling's folder is called as nobody calls it."""
    seeded.write_decoder(folder, "qwen3")
    (folder / "1_Pooling").rename(folder / "pool [a]")
    modules = folder / "modules.json"
    modules.write_text(modules.read_text().replace("1_Pooling", "pool [a]"))


def _write_bare_pooling(folder: Path) -> None:
    """A pooling without a list of modules."""
    seeded.write_bert(folder, pooling="cls_token")
    (folder / "modules.json").unlink()


def _write_head(folder: Path) -> None:
    """Modules with weights behind the pooling."""
    write_head(seeded.write_bert(folder), ("mean", "max"), (dense(32), NORMALIZE, LAYER_NORM))


def _write_odd_shards(folder: Path) -> None:
    """Shards whose names only the index knows."""
    seeded.write_decoder(folder, "llama", shards=3)
    index = folder / "model.safetensors.index.json"
    text = index.read_text()
    for number, path in enumerate(sorted(folder.glob("model-*.safetensors"))):
        path.rename(folder / f"part[{number}].safetensors")
        text = text.replace(path.name, f"part[{number}].safetensors")
    index.write_text(text)


def _write_static_apart(folder: Path) -> None:
    """The network in a folder of its own, as Sentence Transformers once saved it."""
    seeded.write_static_embedding(folder, place="0_StaticEmbedding")


_WRITERS: dict[str, Callable[[Path], object]] = {
    "v5-text-small": seeded.write_v5_text_small,
    "v5-text-nano": seeded.write_v5_text_nano,
    "qwen3": lambda folder: seeded.write_decoder(folder, "qwen3"),
    "qwen2": lambda folder: seeded.write_decoder(folder, "qwen2"),
    "llama": lambda folder: seeded.write_decoder(folder, "llama"),
    "eurobert": seeded.write_eurobert,
    "bert": seeded.write_bert,
    "xlm-roberta": lambda folder: seeded.write_bert(folder, "xlm-roberta"),
    "roberta": _write_roberta,
    "modernbert": seeded.write_modernbert,
    "mpnet": lambda folder: seeded.write_bert(folder, "mpnet"),
    "distilbert": lambda folder: seeded.write_bert(folder, "distilbert"),
    "v3": seeded.write_v3,
    "v3 native": seeded.write_v3_native,
    "clip": seeded.write_jina_clip,
    "shards": lambda folder: seeded.write_v5_text_small(folder, shards=3),
    "odd shards": _write_odd_shards,
    "adapters": _write_with_adapters,
    "odd pooling": _write_odd_pooling,
    "bare pooling": _write_bare_pooling,
    "limits": _write_limited,
    "model2vec": seeded.write_model2vec,
    "static": seeded.write_static_embedding,
    "static apart": _write_static_apart,
    "head": _write_head,
}
KINDS = tuple(_WRITERS)


def write_kind(kind: str, folder: Path) -> Path:
    """Writes one of `KINDS`, with other files beside it."""
    _WRITERS[kind](folder)
    for name, text in BESIDE.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(text)
    return folder

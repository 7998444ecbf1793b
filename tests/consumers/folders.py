"""What the consumers are tried on: hub folders and packs of the same models, and their vectors.

    python tests/consumers/folders.py FOLDER

writes, for each model, `FOLDER/<model>/hub/<task>/`, `FOLDER/<model>/pack/`, and the vectors of
`Embedder` in `FOLDER/<model>/expected.npz`: by `<precision>.<kind>`, where the kind is "query" or
"document". It runs where embedge can export; consumers have environments of their own, in which
their tests read these files.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

import seeded
from embedge import Embedder
from embedge_export import export_hub_folders, export_pack
from support.heads import NORMALIZE, dense, write_head

MINI = Path("models/embedge-mini")
SEVERAL = ("mini", "small", "nano")  # have several tasks
PRECISIONS = ("fp32", "fp16", "int8")
# Of every length, so that most are padded; the last one is cut by no limit.
TEXTS = [
    "a",
    "Which planet is known as the Red Planet?",
    "The cat sat on the mat, and looked out of the window for an hour.",
    "Größe, 東京, naïve café",
    " ".join(["one more word and another"] * 12),
]


def main(out: Path) -> None:
    """Writes everything again."""
    shutil.rmtree(out, ignore_errors=True)
    sources = out / "sources"
    made = {
        "mini": MINI,
        "small": seeded.write_v5_text_small(sources / "small", size="tiny", seed=7),
        "qwen3": seeded.write_decoder(sources / "qwen3", "qwen3"),
        "llama": seeded.write_decoder(sources / "llama", "llama"),
        "bert": seeded.write_bert(sources / "bert", pooling="mean_tokens"),
        "xlm-roberta": seeded.write_bert(
            sources / "xlm-roberta", "xlm-roberta", pooling="cls_token"
        ),
        "distilbert": seeded.write_bert(sources / "distilbert", "distilbert"),
        "mpnet": seeded.write_bert(sources / "mpnet", "mpnet"),
        "modernbert": seeded.write_modernbert(sources / "modernbert"),
        "nano": seeded.write_v5_text_nano(sources / "nano", size="tiny", seed=7),
    }
    # Two poolings joined, and a layer behind them: the graph's vector holds it all.
    headed = seeded.write_bert(sources / "headed")
    made["headed"] = write_head(headed, ["mean", "max"], [dense(48), NORMALIZE])
    for name in ("distilbert", "modernbert"):  # as of their own tokenizers
        settings = made[name] / "tokenizer_config.json"
        inputs = {"model_input_names": ["input_ids", "attention_mask"]}
        settings.write_text(json.dumps(json.loads(settings.read_text()) | inputs))
    for name, source in made.items():
        place, tasks = out / name, ["retrieval"] if name in SEVERAL else None
        # What a bar of int8 asks of random weights is not the question here.
        common = {"tasks": tasks, "precisions": PRECISIONS, "accept_failures": True}
        export_hub_folders(source, out=place / "hub", **common)
        export_pack(source, out=place / "pack", **common)
        np.savez(place / "expected.npz", **expected(place / "pack"))
    shutil.rmtree(sources)
    (out / "texts.json").write_text(json.dumps(TEXTS), encoding="utf-8")


def expected(pack: Path) -> dict[str, np.ndarray]:
    """The vectors of TEXTS, float32 (texts, dimension), by precision and kind."""
    vectors = {}
    for precision in PRECISIONS:
        with Embedder(pack, precision=precision) as embedder:
            vectors[f"{precision}.query"] = embedder.encode_query(TEXTS)
            vectors[f"{precision}.document"] = embedder.encode_document(TEXTS)
    return vectors


if __name__ == "__main__":
    main(Path(sys.argv[1]))

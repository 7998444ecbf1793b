"""The graphs that Sentence Transformers' ONNX backend runs, made by itself.

Started in the environment of the peers as `python -m bench.minilm.convert MODEL RECIPE OUT`. Writes
OUT/onnx/model.onnx, and beside it the dynamic int8 form that the library recommends for a CPU.
"""

import json
import os
import sys
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before ONNX Runtime is imported: no usage reports


def main() -> None:
    """Converts, as the command line says."""
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    source, recipe, out = sys.argv[1:4]
    model = SentenceTransformer(
        source,
        device="cpu",
        backend="onnx",
        model_kwargs={"export": True, "file_name": "model.onnx"},
    )
    model.save_pretrained(out)
    export_dynamic_quantized_onnx_model(model, recipe, out)
    # An old note of 128 tokens, by which fastembed alone would cut the texts.
    settings = Path(out) / "tokenizer_config.json"
    values = json.loads(settings.read_text())
    values.pop("max_length", None)
    settings.write_text(json.dumps(values))


if __name__ == "__main__":
    main()

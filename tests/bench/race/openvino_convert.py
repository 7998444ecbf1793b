"""Converts a plain transformers model for OpenVINO, in OpenVINO's own environment.

    python -m bench.race.openvino_convert MODEL OUT    # OUT/int8.xml, OUT/fp16.xml, a .bin each

The graph pools the last token, as embedge's does, so that nobody pays for carrying every token's
vector out. int8.xml has weights in nncf's INT8_SYM (one scale a row; the CPU plugin then quantizes
activations by groups as it runs), fp16.xml has them in fp16.
"""

import sys
from pathlib import Path

import nncf
import openvino
import torch
from transformers import AutoModel


class LastToken(torch.nn.Module):
    """(B, S) ids and mask -> (B, D), pooled where the mask's last 1 is."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        ends = (attention_mask * torch.arange(attention_mask.shape[1])).argmax(1)
        return hidden[torch.arange(hidden.shape[0]), ends]


def main() -> None:
    """Traces, quantizes the weights, writes both."""
    source, out = sys.argv[1], Path(sys.argv[2])
    model = AutoModel.from_pretrained(source, dtype=torch.float32).eval()
    model.config.use_cache = False
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0  # or the trace could take a short cut that only full batches may take
    dynamic = [-1, -1]
    graph = openvino.convert_model(
        LastToken(model),
        example_input={"input_ids": ids, "attention_mask": mask},
        input=[
            ("input_ids", dynamic, openvino.Type.i64),
            ("attention_mask", dynamic, openvino.Type.i64),
        ],
    )
    out.mkdir(parents=True, exist_ok=True)
    openvino.save_model(graph, out / "fp16.xml", compress_to_fp16=True)
    graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(graph, out / "int8.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main()

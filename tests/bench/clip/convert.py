"""Converts one of jina-clip-v2's towers for OpenVINO, in OpenVINO's own environment.

    python -m bench.clip.convert text|image SOURCE OUT      # OUT/int8.xml and OUT/fp16.xml

As race/openvino_convert.py: nncf's INT8_SYM weights, one scale a row, and fp16 beside them. Any
number of texts or images in a run.
"""

import sys
from pathlib import Path

import nncf
import openvino
import torch

from bench.clip.towers import image_tower, text_tower


def main() -> None:
    """Traces, quantizes the weights, writes both."""
    tower, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if tower == "image":
        network = image_tower(source)
        size = network.size
        example = {"pixels": torch.zeros(2, 3, size, size)}
        inputs = [("pixels", [-1, 3, size, size], openvino.Type.f32)]
    else:
        network = text_tower(source)
        ids = torch.randint(0, network.model.config.vocab_size, (2, 9))
        mask = torch.ones_like(ids)
        mask[1, 6:] = 0  # or the trace could take a short cut that only full batches may take
        example = {"input_ids": ids, "attention_mask": mask}
        inputs = [(name, [-1, -1], openvino.Type.i64) for name in example]
    graph = openvino.convert_model(network, example_input=example, input=inputs)
    out.mkdir(parents=True, exist_ok=True)
    openvino.save_model(graph, out / "fp16.xml", compress_to_fp16=True)
    graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(graph, out / "int8.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main()

"""Seeded random models in the exact layouts of real ones: for tests, the demo and benchmarks.

Takes a folder, a kind of model, a size and a seed. Writes what the model's repository holds
(config, bfloat16 safetensors, task adapters, tokenizer, Sentence Transformers files), so that what
reads a real model reads these. Their vectors mean nothing; their shapes, file names, norms and, on
request, activation outliers are those of the real thing. The same arguments give the same weights,
however they are cut into shards. It knows nothing of embedge.

    python models/seeded FOLDER --model v5-text-small --size demo --seed 0
"""

from seeded.bert import write_bert, write_v3, write_v3_native
from seeded.bert_layouts import EncoderSize
from seeded.decoder_layouts import SIZES, TASKS, Dimensions
from seeded.decoders import (
    write_decoder,
    write_eurobert,
    write_v5_text_nano,
    write_v5_text_small,
)
from seeded.eva02 import VisionSize, write_jina_clip
from seeded.modernbert import write_modernbert
from seeded.static import write_model2vec, write_static_embedding

__all__ = [
    "SIZES",
    "TASKS",
    "Dimensions",
    "EncoderSize",
    "VisionSize",
    "write_bert",
    "write_decoder",
    "write_eurobert",
    "write_jina_clip",
    "write_model2vec",
    "write_modernbert",
    "write_static_embedding",
    "write_v3",
    "write_v3_native",
    "write_v5_text_nano",
    "write_v5_text_small",
]

"""What every field of model2vec's config.json does to a static model.

Read off model2vec 0.10's `StaticModel`, which takes three things from it: whether vectors are
normalized, how many tokens a text may have, and nothing of how the table was made.
"""

from collections.abc import Mapping

from embedge_export.reading.fields import Fields, unused, used

MODEL2VEC = "model2vec"
PLACE = "network_path"  # beside the latter: its folder in the source
STATIC_EMBEDDING = "static_embedding"  # Sentence Transformers' module; it writes no config.json

_MADE = "how the table was made"
FIELDS: Mapping[str, Fields] = {
    MODEL2VEC: {
        **used("max_length", "model_type", "normalize"),
        **unused(
            _MADE,
            "apply_pca",
            "apply_zipf",
            "embedding_dtype",
            "hidden_dim",  # the table's own width counts; a later cut leaves this as it was
            "pooling",  # of the network that it was distilled from
            "sif_coefficient",
            "tokenizer_name",
            "vocabulary_quantization",
        ),
        **unused("an older name of a limit that model2vec never read", "seq_length"),
        **unused("of a classifier that stands behind the vectors", "head_config"),
        **unused("a note of where the file comes from", "architectures", "base_model"),
    },
    STATIC_EMBEDDING: used("model_type", PLACE),
}

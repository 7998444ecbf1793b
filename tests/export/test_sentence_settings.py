"""Sentence Transformers' files: every field is used as it uses it, or refused by name."""

import json
import os
import shutil

import pytest

import seeded
from embedge.errors import SourceError
from embedge_export.reading.fields import Only
from embedge_export.source import sentence_fields
from embedge_export.source.folder import open_source

MODEL = "config_sentence_transformers.json"
NETWORK = "sentence_bert_config.json"
POOLING = "1_Pooling/config.json"
# What Sentence Transformers reads, from the source of the version that the tables name. A newer
# version's fields belong here and into a table.
READ = {
    "MODEL_FIELDS": (
        "__version__ default_prompt_name model_type prompts requirements similarity_fn_name "
        "truncate_dim"
    ),
    "NETWORK_FIELDS": (
        "backend config_args config_kwargs do_lower_case document_length max_seq_length "
        "modality_config model_args model_kwargs module_output_name processing_kwargs "
        "processor_kwargs query_expansion query_length tokenizer_args tokenizer_name_or_path "
        "transformer_task unpad_inputs"
    ),
    "POOLING_FIELDS": (
        "embedding_dimension include_prompt pooling_mode pooling_mode_cls_token "
        "pooling_mode_lasttoken pooling_mode_max_tokens pooling_mode_mean_sqrt_len_tokens "
        "pooling_mode_mean_tokens pooling_mode_weightedmean_tokens word_embedding_dimension"
    ),
    "DENSE_FIELDS": (
        "activation_function bias in_features module_input_name module_output_name out_features "
        "use_residual"
    ),
    "LAYER_NORM_FIELDS": "dimension",
    "NORMALIZE_FIELDS": "module_input_name module_output_name",
    "MODULE_FIELDS": "idx kwargs name path type",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return seeded.write_decoder(tmp_path_factory.mktemp("settings") / "qwen3", "qwen3")


@pytest.fixture
def folder(model, tmp_path):
    """A Qwen3 with every file of Sentence Transformers, to be changed."""
    return shutil.copytree(model, tmp_path / "qwen3")


def change(path, **fields):
    value = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(value | fields))


@pytest.mark.parametrize("table", list(READ))
def test_the_tables_have_every_field_that_is_read(table):
    assert sentence_fields.VERSION == "6.2.0"
    assert sorted(getattr(sentence_fields, table)) == READ[table].split()


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        (MODEL, {"model_type": "SparseEncoder"}, "model_type is 'SparseEncoder'"),
        (MODEL, {"truncate_dim": 32}, "truncate_dim is 32"),
        (MODEL, {"truncate_dim": "64"}, "truncate_dim is '64'"),
        (MODEL, {"similarity_fn_name": "euclidean"}, "similarity_fn_name is 'euclidean'"),
        (MODEL, {"similarity_fn_name": "manhattan"}, "similarity_fn_name is 'manhattan'"),
        (MODEL, {"similarity_fn_name": ["dot"]}, r"similarity_fn_name is \['dot'\]"),
        (MODEL, {"default_prompt_name": ["query"]}, '"default_prompt_name" '),
        (MODEL, {"prompts": ["query"]}, '"prompts" is not an object of strings'),
        (NETWORK, {"do_lower_case": True}, "do_lower_case is True"),
        (NETWORK, {"do_lower_case": "yes"}, "do_lower_case is 'yes', it must be true or false"),
        (NETWORK, {"max_seq_length": [512]}, r"the length limit is \[512\] \(max_seq_length\)"),
        (NETWORK, {"max_seq_length": float("nan")}, r"the length limit is nan \(max_seq_length\)"),
        (NETWORK, {"max_seq_length": float("inf")}, r"the length limit is inf \(max_seq_length\)"),
        (NETWORK, {"query_length": float("nan")}, "query_length is nan"),
        (MODEL, {"truncate_dim": float("nan")}, "truncate_dim is nan"),
        (POOLING, {"word_embedding_dimension": float("nan")}, "word_embedding_dimension is nan"),
        (NETWORK, {"transformer_task": "fill-mask"}, "transformer_task is 'fill-mask'"),
        (NETWORK, {"module_output_name": "sentence_embedding"}, "module_output_name is"),
        (NETWORK, {"modality_config": {"message": {}}}, "modality_config is"),
        (NETWORK, {"processing_kwargs": {"text": {"max_length": 4}}}, "processing_kwargs is"),
        (NETWORK, {"query_length": 32}, "query_length is 32"),
        (NETWORK, {"document_length": 32}, "document_length is 32"),
        (NETWORK, {"query_expansion": {"length": 32}}, "query_expansion is"),
        (NETWORK, {"tokenizer_name_or_path": "other/model"}, "tokenizer_name_or_path is"),
        (
            NETWORK,
            {"tokenizer_args": {"truncation_side": "left"}},
            "args.truncation_side is 'left'",
        ),
        (NETWORK, {"processor_kwargs": {"do_lower_case": 1}}, "'processor_kwargs.do_lower_case'"),
        (NETWORK, {"config_args": {"num_hidden_layers": 1}}, "'config_args.num_hidden_layers'"),
        (NETWORK, {"model_args": [1]}, "model_args is .1., it must be an object"),
        (NETWORK, {"later": 1}, "'later' is not known"),
        (
            POOLING,
            {"word_embedding_dimension": 8},
            "word_embedding_dimension is 8, and the network",
        ),
        (POOLING, {"embedding_dimension": 8}, "embedding_dimension is 8"),
        (POOLING, {"pooling_mode_lasttoken": 1}, "pooling_mode_lasttoken is 1, it must be true"),
        (POOLING, {"pooling_mode": "mean"}, "pooling_mode is 'mean', and its flags say lasttoken"),
        (POOLING, {"pooling_mode": 5}, "pooling_mode is 5"),
        (POOLING, {"pooling_mode": [["mean"]]}, "pooling_mode is"),
        (POOLING, {"include_prompt": 0}, "include_prompt is 0, it must be true or false"),
        (POOLING, {"later": 1}, "'later' is not known"),
        ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}, "module_input_name"),
        ("2_Normalize/config.json", {"module_output_name": "x"}, "module_output_name is 'x'"),
    ],
)
def test_what_is_not_reproduced_is_refused_by_file_and_field(folder, file, fields, message):
    (folder / file).parent.mkdir(exist_ok=True)
    change(folder / file, **fields)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(folder)
    assert str(folder / file) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        (MODEL, {"similarity_fn_name": "dot"}),  # of length 1, for there is a Normalize
        (MODEL, {"similarity_fn_name": None, "truncate_dim": None, "model_type": None}),
        (MODEL, {"model_type": "SentenceTransformer", "requirements": {}, "__version__": {}}),
        (MODEL, {"default_prompt_name": "document"}),  # in every model there, and empty
        (MODEL, {"prompts": {"query": None}}),
        (MODEL, {"prompts": None}),
        (NETWORK, {"do_lower_case": False, "max_seq_length": None}),
        (NETWORK, {"transformer_task": "feature-extraction", "unpad_inputs": True}),
        (
            NETWORK,
            {"model_args": {"torch_dtype": "bfloat16"}, "config_kwargs": {"use_cache": True}},
        ),
        (NETWORK, {"tokenizer_args": {"padding_side": "left", "truncation_side": "right"}}),
        (POOLING, {"pooling_mode": "lasttoken"}),  # both spellings, and they agree
        (POOLING, {"pooling_mode": ["lasttoken"], "include_prompt": False}),
        (POOLING, {"embedding_dimension": 64, "word_embedding_dimension": 64}),
    ],
)
def test_what_changes_no_vector_is_taken(folder, file, fields):
    before = open_source(folder)
    change(folder / file, **fields)
    after = open_source(folder)
    assert (after.head, after.max_length) == (before.head, before.max_length)


def test_a_dot_product_of_vectors_of_any_length_is_refused(folder):
    change(folder / MODEL, similarity_fn_name="dot")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:2]))
    with pytest.raises(SourceError, match="similarity_fn_name is 'dot', and vectors are compared"):
        open_source(folder)


def test_a_limit_among_the_arguments_goes_first(folder):
    change(folder / NETWORK, max_seq_length=200, tokenizer_args={"model_max_length": 150})
    assert open_source(folder).max_length == 150


def test_the_older_names_of_the_network_s_settings_count(folder):
    change(folder / "sentence_xlm-roberta_config.json", max_seq_length=77)
    source = open_source(folder)
    assert source.max_length == 77
    assert "sentence_xlm-roberta_config.json" in source.files
    change(folder / NETWORK, max_seq_length=99)  # the first that says anything
    assert open_source(folder).max_length == 99


def test_a_pooling_folder_of_another_name_is_part_of_the_provenance(folder):
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "pooling"
    (folder / "1_Pooling").rename(folder / "pooling")
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "pooling/config.json" in open_source(folder).files


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: [m[1], m[0], m[2]], "its modules are Pooling, Transformer, Normalize"),
        (lambda m: [m[0], m[2], m[1]], "its modules are Transformer, Normalize, Pooling"),
        (lambda m: [m[0], m[0], m[1]], "two modules are named '0'"),
        (lambda m: [m[0], m[0] | {"name": "x"}, m[1]], "Transformer, Transformer, Pooling"),
        (lambda m: [m[0], m[1], m[2] | {"name": "1"}], "two modules are named '1'"),
        (lambda m: [m[0], m[1], m[2] | {"path": "../norm"}], "'../norm' is not the name of"),
        (lambda m: [m[0], m[1], m[2] | {"path": 7}], '"path" is 7, not a text'),
        (lambda m: [m[0] | {"type": None}], '"type" is None, not a text'),
        (
            lambda m: [*m, {"type": "sentence_transformers.models.Dense", "path": "../3_Dense"}],
            "'../3_Dense' is not the name of",
        ),
    ],
)
def test_modules_in_another_order_or_elsewhere(folder, edit, message):
    path = folder / "modules.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    with pytest.raises(SourceError, match=message):
        open_source(folder)


@pytest.mark.parametrize("file", [MODEL, NETWORK, POOLING, "modules.json", "config.json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompts": {"query": "\\ud800"}}', "half of a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
    ],
)
def test_what_is_not_strictly_json_names_the_file(folder, file, text, message):
    (folder / file).write_text(text)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(folder)
    assert str(folder / file) in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("file", [MODEL, NETWORK, POOLING, "modules.json"])
def test_a_pipe_in_place_of_a_file_is_named_at_once(folder, file):
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)
    with pytest.raises(SourceError, match="cannot be read: it is a pipe"):
        open_source(folder)


def test_only_fields_allow_what_is_left_out():
    tables = [getattr(sentence_fields, name) for name in READ]
    tables += sentence_fields.ARGUMENTS.values()
    for field in (field for table in tables for field in table.values() if isinstance(field, Only)):
        assert None in field.allowed

"""The files beside tokenizer.json: they agree with it, or are refused by file and field."""

import json
import shutil

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

import seeded
from embedge.errors import SourceError
from embedge_export.source.folder import open_source

CONFIG = "tokenizer_config.json"
FILE = "tokenizer.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    place = tmp_path_factory.mktemp("tokenizers")
    llama = seeded.write_decoder(place / "llama", "llama")
    bert = seeded.write_bert(place / "bert")
    qwen = seeded.write_decoder(place / "qwen3", "qwen3")
    return {"llama": llama, "bert": bert, "qwen3": qwen}


@pytest.fixture
def llama(written, tmp_path):
    """Its class takes tokenizer.json as it stands."""
    return shutil.copytree(written["llama"], tmp_path / "llama")


@pytest.fixture
def qwen3(written, tmp_path):
    """Its class builds normalizer and cut by itself."""
    return shutil.copytree(written["qwen3"], tmp_path / "qwen3")


@pytest.fixture
def bert(written, tmp_path):
    """As BERT's own checkpoints are: its class builds all but the vocabulary."""
    folder = shutil.copytree(written["bert"], tmp_path / "bert")
    change(folder / CONFIG, tokenizer_class="BertTokenizer")
    return folder


def change(path, **fields):
    value = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(value | fields))


def change_part(folder, part, **fields):
    """Changes fields of a part of tokenizer.json."""
    value = json.loads((folder / FILE).read_text())
    change(folder / FILE, **{part: (value[part] or {}) | fields})


def decoder(folder):
    """added_tokens_decoder, as tokenizer.json has the tokens."""
    tokens = json.loads((folder / FILE).read_text())["added_tokens"]
    return {str(token.pop("id")): token for token in tokens}


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        (CONFIG, {"truncation_side": "left"}, "truncation_side is 'left'"),
        (CONFIG, {"truncation_side": 1}, "truncation_side is 1"),
        (CONFIG, {"split_special_tokens": True}, "split_special_tokens is True"),
        (
            CONFIG,
            {"auto_map": {"AutoTokenizer": ["own.Own", None]}},
            "auto_map is .*code of its own",
        ),
        (CONFIG, {"auto_map": ["own.Own", None]}, "auto_map is .*code of its own"),
        (CONFIG, {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}, "fast_tokenizer_files is"),
        (CONFIG, {"post_processor": {"type": "ByteLevel"}}, "post_processor is"),
        (
            CONFIG,
            {"eos_token": "<end>"},
            "eos_token is '<end>', which tokenizer.json does not have",
        ),
        (CONFIG, {"unk_token": {"content": "<unk>"}}, "unk_token is '<unk>'"),
        (CONFIG, {"image_token": "<image>"}, "image_token is '<image>'"),
        (CONFIG, {"pad_token": "a"}, "pad_token is 'a', which tokenizer.json has as an ordinary"),
        (CONFIG, {"additional_special_tokens": ["<x>"]}, "additional_special_tokens is '<x>'"),
        (CONFIG, {"extra_special_tokens": {"own": "<x>"}}, "own is '<x>'"),
        (CONFIG, {"extra_special_tokens": [{"content": "<x>"}]}, "extra_special_tokens is '<x>'"),
        (CONFIG, {"extra_special_tokens": 5}, "extra_special_tokens is 5, not a list of tokens"),
        (CONFIG, {"eos_token": 5}, "eos_token is 5, not a token"),
        (CONFIG, {"eos_token": {"content": None}}, "eos_token is .*not a token"),
        (CONFIG, {"add_eos_token": "yes"}, "add_eos_token is 'yes', it must be true or false"),
        (CONFIG, {"tokenizer_class": ["X"]}, "tokenizer_class is"),
        (CONFIG, {"model_max_length": "512"}, "the length limit is '512'"),
        (CONFIG, {"model_max_length": float("nan")}, "the length limit is nan"),
        (CONFIG, {"model_max_length": -5}, "the length limit is -5"),
        (CONFIG, {"added_tokens_decoder": []}, "added_tokens_decoder is"),
        (CONFIG, {"added_tokens_decoder": {"x": {"content": "a"}}}, "added_tokens_decoder has 'x'"),
        (
            CONFIG,
            {"added_tokens_decoder": {"9" * 5000: {"content": "a"}}},
            "added_tokens_decoder has",
        ),
        (CONFIG, {"added_tokens_decoder": {"5": "<x>"}}, "added_tokens_decoder has '5'"),
        (
            CONFIG,
            {"added_tokens_decoder": {"5": {"content": "<x>"}}},
            "id '5', and tokenizer.json no",
        ),
        ("special_tokens_map.json", {"eos_token": "<end>"}, "eos_token is '<end>'"),
        ("special_tokens_map.json", {"eos_token": []}, r"eos_token is \[\], not a token"),
        ("added_tokens.json", {"<x>": 5}, "'<x>' has the id 5"),
        ("added_tokens.json", {"<|im_end|>": 5}, "'<|im_end|>' has the id 5"),
        ("config.json", {"pad_token_id": 2**70}, "pad_token_id is"),
        ("config.json", {"pad_token_id": "5"}, "pad_token_id is '5'"),
        ("config.json", {"pad_token_id": 1.5}, "pad_token_id is 1.5"),
        ("config.json", {"eos_token_id": [[1]]}, "eos_token_id is"),
    ],
)
def test_what_gives_other_ids_is_refused_by_file_and_field(llama, file, fields, message):
    change(llama / file, **fields)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(llama)
    assert str(llama / file) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        (
            CONFIG,
            {"padding_side": "left", "truncation_side": "right", "split_special_tokens": False},
        ),
        (CONFIG, {"eos_token": {"content": "<|im_end|>"}, "pad_token": None, "unk_token": ""}),
        (CONFIG, {"additional_special_tokens": ["<|im_start|>"], "extra_special_tokens": []}),
        (CONFIG, {"auto_map": {"AutoProcessor": "own.Own"}, "chat_template": "{{ x }}"}),
        (CONFIG, {"clean_up_tokenization_spaces": True, "legacy": False, "errors": "replace"}),
        ("added_tokens.json", {"<|im_end|>": 514}),
        ("special_tokens_map.json", {"eos_token": "<|im_end|>", "unk_token": None}),
        ("config.json", {"pad_token_id": -1}),
    ],
)
def test_what_changes_no_id_is_taken(llama, file, fields):
    change(llama / file, **fields)
    assert open_source(llama).notes == ()


def test_added_tokens_have_the_same_ids_and_flags(llama):
    change(llama / CONFIG, added_tokens_decoder=decoder(llama))
    assert open_source(llama).notes == ()
    tokens = decoder(llama)
    tokens["514"]["lstrip"] = True
    change(llama / CONFIG, added_tokens_decoder=tokens)
    with pytest.raises(SourceError, match=r"lstrip of '<\|im_end\|>' is True, and False in"):
        open_source(llama)
    tokens = decoder(llama)
    tokens["515"] = tokens.pop("514")
    change(llama / CONFIG, added_tokens_decoder=tokens)
    with pytest.raises(SourceError, match=r"'<\|im_end\|>' the id '515', and tokenizer.json 514"):
        open_source(llama)


def test_with_listed_tokens_the_map_is_not_read(llama):
    change(llama / CONFIG, added_tokens_decoder=decoder(llama))
    change(llama / "special_tokens_map.json", eos_token="<end>")
    assert open_source(llama).pad_token_id == open_source(llama).config["eos_token_id"]


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("model", {"dropout": 0.1}, "model.dropout is 0.1"),
        ("model", {"dropout": "x"}, "model.dropout is .x."),
        ("model", {"unk_token": 5}, "model.unk_token is 5, it must be a text"),
        (
            "truncation",
            {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
            "truncation.direction is 'Left'",
        ),
    ],
)
def test_parts_of_the_file_that_would_go_wrong(llama, part, fields, message):
    change_part(llama, part, **fields)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(llama)
    assert str(llama / FILE) in str(caught.value)


def test_bytes_need_no_token_for_what_is_unknown(llama):
    change_part(llama, "model", unk_token="<none>")
    assert open_source(llama).notes == ()


def test_a_cut_that_the_settings_overrule_is_taken(llama):
    cut = {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    change(llama / FILE, truncation=cut)
    change(llama / CONFIG, truncation_side="right")
    open_source(llama)


def test_the_file_s_own_padding_names_the_token_if_nothing_else_does(llama):
    padding = {
        "strategy": "BatchLongest",
        "direction": "Left",
        "pad_to_multiple_of": 8,
        "pad_id": 513,
        "pad_type_id": 0,
        "pad_token": "<|im_start|>",
    }
    change(llama / FILE, padding=padding)
    assert open_source(llama).pad_token_id == 513
    change(llama / CONFIG, pad_token="<|im_end|>")
    assert open_source(llama).pad_token_id == 514


@pytest.mark.parametrize("kind", ["WordPiece", "WordLevel", "Unigram"])
def test_a_rare_character_that_would_fail_is_refused_at_once(llama, kind):
    tokenizer = {
        "WordPiece": lambda: Tokenizer(models.WordPiece({"a": 0}, unk_token="[UNK]")),
        "WordLevel": lambda: Tokenizer(models.WordLevel({"a": 0}, unk_token="[UNK]")),
        "Unigram": lambda: Tokenizer(models.Unigram([("a", 0.0)])),
    }[kind]()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>")])
    tokenizer.save(str(llama / FILE))
    with pytest.raises(SourceError, match=r"unk_(token|id) is .*a rare character would fail"):
        open_source(llama)


# -- classes that build parts of the tokenizer themselves


@pytest.mark.parametrize(
    "fields",
    [
        {"do_lower_case": False},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
    ],
)
def test_bert_s_normalizer_goes_by_the_settings(bert, fields):
    assert open_source(bert).notes == ()
    change(bert / CONFIG, **fields)
    with pytest.raises(SourceError, match="builds its own normalizer by do_lower_case, strip_acc"):
        open_source(bert)
    change(bert / CONFIG, tokenizer_class="PreTrainedTokenizerFast")
    open_source(bert)


def test_other_names_of_bert_s_class(bert):
    change(bert / CONFIG, tokenizer_class="DistilBertTokenizerFast")
    assert open_source(bert).notes == ()
    change(bert / CONFIG, do_lower_case=False)
    with pytest.raises(SourceError, match="its class is BertTokenizer, which builds its own norm"):
        open_source(bert)


def test_mpnet_s_class_has_bert_s_words_and_roberta_s_tokens(tmp_path):
    folder = seeded.write_bert(tmp_path / "mpnet", "mpnet")
    change(folder / CONFIG, tokenizer_class=None)  # the class of its model_type
    assert open_source(folder).notes == ()
    change(folder / CONFIG, do_lower_case=False)
    with pytest.raises(SourceError, match="its class is MPNetTokenizer, which builds its own norm"):
        open_source(folder)
    change(folder / CONFIG, do_lower_case=True, tokenizer_class="MPNetTokenizerFast")
    tokenizer = Tokenizer.from_file(str(folder / FILE))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    tokenizer.save(str(folder / FILE))
    with pytest.raises(SourceError, match="which builds its own post_processor"):
        open_source(folder)


def test_a_type_of_tokens_that_is_not_0(bert):
    tokenizer = Tokenizer.from_file(str(bert / FILE))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(bert / FILE))
    with pytest.raises(SourceError, match="single text another type than 0"):
        open_source(bert)
    change(bert / CONFIG, model_input_names=["input_ids", "attention_mask"])
    open_source(bert)


def test_lower_case_that_the_tokenizer_makes_anyway(bert, qwen3):
    for folder in (bert, qwen3):
        change(folder / "sentence_bert_config.json", do_lower_case=True)
    assert open_source(bert).notes == ()
    with pytest.raises(SourceError, match=r"sentence_bert_config\.json: do_lower_case is True"):
        open_source(qwen3)
    steps = [{"type": "Lowercase"}, {"type": "NFC"}]
    change(qwen3 / FILE, normalizer={"type": "Sequence", "normalizers": steps})
    change(qwen3 / CONFIG, tokenizer_class="PreTrainedTokenizerFast")
    open_source(qwen3)


def test_bert_lowers_unless_the_settings_say_otherwise(bert):
    """Also where they say nothing, and tokenizer.json does not."""
    change_part(bert, "normalizer", lowercase=False)
    with pytest.raises(SourceError, match="builds its own normalizer"):
        open_source(bert)
    change(bert / CONFIG, do_lower_case=False)
    assert open_source(bert).notes == ()


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("pre_tokenizer", {"type": "Whitespace"}, "builds its own pre_tokenizer"),
        ("post_processor", None, "builds its own post_processor and gives"),
    ],
)
def test_bert_s_class_against_other_parts(bert, part, value, message):
    change(bert / FILE, **{part: value})
    if part == "pre_tokenizer":  # words with a hyphen in them are not cut
        change(bert / FILE, pre_tokenizer={"type": "WhitespaceSplit"})
    with pytest.raises(SourceError, match=message):
        open_source(bert)


@pytest.mark.parametrize(
    ("field", "value"), [("continuing_subword_prefix", "@@"), ("max_input_chars_per_word", 5)]
)
def test_bert_s_class_has_its_own_settings_of_the_model(bert, field, value):
    change_part(bert, "model", **{field: value})
    with pytest.raises(SourceError, match=rf"for model\.{field}, and tokenizer.json has"):
        open_source(bert)


def test_a_class_of_another_algorithm(bert, llama):
    change(llama / CONFIG, tokenizer_class="BertTokenizer")
    with pytest.raises(
        SourceError, match=r"its class is BertTokenizer, and tokenizer\.json holds a"
    ):
        open_source(llama)


def test_qwen_s_class_has_its_own_cut(qwen3):
    change(qwen3 / CONFIG, add_prefix_space=True)
    with pytest.raises(SourceError, match="its own pre_tokenizer by add_prefix_space"):
        open_source(qwen3)
    change(qwen3 / CONFIG, add_prefix_space=None)
    change(qwen3 / FILE, normalizer={"type": "Lowercase"})
    with pytest.raises(SourceError, match="builds its own normalizer"):
        open_source(qwen3)


def test_a_class_that_lacks_tokens_of_the_file(qwen3):
    tokens = decoder(qwen3)
    tokens.pop("513")
    change(qwen3 / CONFIG, added_tokens_decoder=tokens)
    with pytest.raises(SourceError, match=r"it lacks '<\|im_start\|>' of tokenizer.json"):
        open_source(qwen3)
    change(qwen3 / CONFIG, tokenizer_class="PreTrainedTokenizerFast")
    open_source(qwen3)  # this one keeps them


def test_xlm_roberta_s_class_cuts_at_white_space(tmp_path):
    folder = seeded.write_v3_native(tmp_path / "v3")
    tokenizer = Tokenizer.from_file(str(folder / FILE))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.save(str(folder / FILE))
    change(folder / CONFIG, tokenizer_class="XLMRobertaTokenizer")
    assert open_source(folder).notes == ()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # a line break is a letter to it
    tokenizer.save(str(folder / FILE))
    with pytest.raises(SourceError, match="builds its own pre_tokenizer"):
        open_source(folder)


# -- notes


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"add_eos_token": True}, "add_eos_token is True, and tokenizer.json adds no such token"),
        ({"add_bos_token": True, "bos_token": "<|im_start|>"}, "add_bos_token is True"),
        (
            {"tokenizer_class": "LlamaTokenizerFast"},
            "add_bos_token is None, and tokenizer.json adds",
        ),
        ({"tokenizer_class": "DebertaV2Tokenizer"}, "names the class DebertaV2Tokenizer"),
    ],
)
def test_where_the_versions_of_transformers_part_the_user_is_told(llama, fields, expected):
    change(llama / CONFIG, add_bos_token=None)
    assert open_source(llama).notes == ()
    change(llama / CONFIG, **fields)
    (note,) = open_source(llama).notes
    assert expected in note


def test_padding_on_the_left_is_noted_where_it_moves_a_text_s_places(bert, llama):
    args = {"tokenizer_args": {"padding_side": "left"}}
    for name, fields in ((CONFIG, {"padding_side": "left"}), ("sentence_bert_config.json", args)):
        for folder in (bert, llama):
            change(folder / name, **fields)
        assert open_source(llama).notes == ()
        (note,) = open_source(bert).notes
        assert "padding_side is 'left'" in note
        (bert / name).write_text('{"model_max_length": 512}' if name == CONFIG else "{}")


def test_a_closing_token_that_is_there_needs_no_note(llama):
    tokenizer = Tokenizer.from_file(str(llama / FILE))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 512)]
    )
    tokenizer.save(str(llama / FILE))
    change(llama / CONFIG, add_eos_token=True)
    assert open_source(llama).notes == ()


def test_a_first_space_that_only_transformers_4_changes_is_noted(llama):
    cut = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    change(llama / FILE, pre_tokenizer=cut)
    (note,) = open_source(llama).notes
    assert "add_prefix_space is False, and tokenizer.json says True" in note
    change(llama / CONFIG, add_prefix_space=True)
    assert open_source(llama).notes == ()

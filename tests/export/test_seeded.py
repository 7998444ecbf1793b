"""The seeded models: real layouts, sane numbers, the same bytes every time."""

import hashlib
import json
import os
import subprocess
import sys
import unicodedata
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import AddedToken, Tokenizer, models

import seeded
from embedge.cli.golden import GOLDEN, TOKEN_TEXTS
from embedge_export.source.folder import open_source
from seeded.files import EUROBERT, new_tokenizer, staged, write_tokenizer
from seeded.tensors import plan_of
from support.source_kinds import KINDS

PACKAGE = Path(seeded.__file__).parent
NANO = GOLDEN["jina-embeddings-v5-text-nano"]


def tensors_of(folder):
    files = sorted(folder.glob("*.safetensors"))
    merged = {}
    for file in files:
        merged |= load_file(file)
    return {key: value.astype(np.float32) for key, value in merged.items()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return seeded.write_v5_text_small(tmp_path_factory.mktemp("seeded") / "model")


def test_v5_text_small_has_the_real_layout(small):
    names = {path.relative_to(small).as_posix() for path in small.rglob("*") if path.is_file()}
    tasks = ("retrieval", "text-matching", "clustering", "classification")
    assert names == {
        "README.md",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
        "tokenizer_config.json",
        *(f"adapters/{task}/adapter_config.json" for task in tasks),
        *(f"adapters/{task}/adapter_model.safetensors" for task in tasks),
    }
    config = json.loads((small / "config.json").read_text())
    assert config["rope_theta"] == 3500000
    assert config["task_names"] == list(tasks)
    assert not {"is_decoder", "pad_token_id", "rope_parameters", "layer_types"} & config.keys()
    # The query is wider than the hidden state, as in the real one.
    assert config["num_attention_heads"] * config["head_dim"] > config["hidden_size"]


NANO_TOKENS = ("<|begin_of_text|>", "<|end_of_text|>", "<|mask|>", "<|parallel_sep|>", "<|pad|>")


def test_v5_text_nano_s_tokenizer(tmp_path):
    """The special tokens, in a table of the real length under the real ids; the closing one."""
    dims = seeded.Dimensions(
        hidden=8, layers=1, heads=1, kv_heads=1, head_dim=8, intermediate=8, vocab=128256, rank=1
    )
    folder = seeded.write_v5_text_nano(tmp_path / "nano", size=dims)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert [tokenizer.token_to_id(token) for token in NANO_TOKENS] == list(range(128000, 128005))
    assert tokenizer.encode("Query: x").ids[-1] == 128001
    assert tokenizer.encode("").ids == [128001]
    assert open_source(folder).pad_token_id == 128004  # though config.json says 128001
    small = seeded.write_v5_text_nano(tmp_path / "tiny")
    tokenizer = Tokenizer.from_file(str(small / "tokenizer.json"))
    first = tokenizer.token_to_id(NANO_TOKENS[0])
    assert [tokenizer.token_to_id(t) - first for t in NANO_TOKENS] == [0, 1, 2, 3, 4]
    assert tokenizer.get_vocab_size(with_added_tokens=True) == first + 5


@pytest.mark.parametrize(("text", "ids"), list(zip(TOKEN_TEXTS, NANO.token_ids, strict=True)))
def test_llama_s_cut_into_words_gives_the_published_ids(tmp_path, text, ids):
    """Given the words that the published ids stand for, the style's rules give those ids."""
    numbers = [int(number) for number in ids.split()]
    tokenizer = new_tokenizer(EUROBERT)
    words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    vocabulary = dict(zip(words, numbers[:-1], strict=True))
    vocabulary |= {f"unused {n}": n for n in set(range(128000)) - set(vocabulary.values())}
    tokenizer.model = models.BPE(vocab=vocabulary, merges=[], ignore_merges=True)
    tokenizer.add_special_tokens([AddedToken(token) for token in NANO_TOKENS])
    (tmp_path / "given").mkdir()
    tokenizer.save(str(tmp_path / "given" / "tokenizer.json"))
    write_tokenizer(
        tmp_path, tmp_path / "given" / "tokenizer.json", EUROBERT, close="<|end_of_text|>"
    )
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids == numbers


def test_full_sizes_are_those_of_the_real_files():
    # Parameters as the model cards and the published files' sizes give them.
    def parameters(model, **options):
        plan = plan_of(seeded.SIZES[model]["full"], **options)
        return sum(int(np.prod(shape)) for shape, _ in plan.values())

    assert parameters("v5-text-small", qk_norm=True) == 596_049_920
    assert parameters("v5-text-nano") == parameters("eurobert") == 211_766_016


def test_adapters_change_the_weights_noticeably(small):
    base = tensors_of(small)
    for task in seeded.TASKS:
        adapter = tensors_of(small / "adapters" / task)
        assert len(adapter) == 2 * 7 * 3
        for name in adapter:
            if ".lora_A." in name:
                key = name.removeprefix("base_model.model.").replace(".lora_A", "")
                delta = adapter[name.replace("lora_A", "lora_B")] @ adapter[name]
                assert 0.05 < delta.std() / base[key].std() < 0.4


def test_gains_are_spread_so_that_folding_them_matters(small):
    gains = [value for key, value in tensors_of(small).items() if key.endswith("norm.weight")]
    assert len(gains) == 4 * 3 + 1
    for gain in gains:
        assert gain.min() > 0
        assert 0.1 < gain.std() < 1
        assert 0.7 < np.median(gain) < 1.4


def residuals(folder, layers=3):
    """Largest over median input of `down_proj`, a layer, through the MLPs alone."""
    tensors = tensors_of(folder)
    state = tensors["embed_tokens.weight"][:100]  # (100, hidden)
    ratios = []
    for layer in range(layers):
        mlp = f"layers.{layer}.mlp."
        norm = state / np.sqrt((state**2).mean(-1, keepdims=True) + 1e-6)
        norm *= tensors[f"layers.{layer}.post_attention_layernorm.weight"]
        gate = norm @ tensors[f"{mlp}gate_proj.weight"].T
        inner = gate / (1 + np.exp(-gate)) * (norm @ tensors[f"{mlp}up_proj.weight"].T)
        ratios.append(np.abs(inner).max() / np.median(np.abs(inner)))
        state = state + inner @ tensors[f"{mlp}down_proj.weight"].T
    return max(ratios), state.std()


def test_outliers_tower_as_in_real_decoders(small, tmp_path):
    plain, spread = residuals(small)
    wild, wild_spread = residuals(seeded.write_v5_text_small(tmp_path / "wild", outliers=True))
    assert plain < 100
    assert wild > 500
    assert wild_spread < 10 * spread  # and yet nothing explodes


def test_depth_does_not_explode(tmp_path):
    dims = seeded.Dimensions(
        hidden=64, layers=40, heads=4, kv_heads=2, head_dim=16, intermediate=96
    )
    folder = seeded.write_v5_text_small(tmp_path / "deep", size=dims)
    _, spread = residuals(folder, layers=40)
    assert 0.05 < spread < 1


WRITE_ALL = """
import sys
from pathlib import Path
from support.source_kinds import KINDS, write_kind
for kind in KINDS:
    write_kind(kind, Path(sys.argv[1]) / kind)
"""


def test_same_arguments_same_bytes_in_every_process(tmp_path):
    """All kinds, in processes whose hash tables are ordered in their own ways."""
    written = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        folder = tmp_path / seed
        subprocess.run([sys.executable, "-c", WRITE_ALL, folder], env=environment, check=True)
        written.append(
            {
                path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in folder.rglob("*")
                if path.is_file()
            }
        )
    one, other = written
    assert len([name for name in one if name.endswith("/tokenizer.json")]) == len(KINDS)
    assert {name for name in one if one[name] != other.get(name)} == set()
    assert one.keys() == other.keys()


def test_another_seed_other_weights(small, tmp_path):
    other = tensors_of(seeded.write_v5_text_small(tmp_path / "other", seed=1))
    for key, value in tensors_of(small).items():
        assert not np.array_equal(value, other[key])


def test_the_tokenizers_of_encoders_split_words(tmp_path):
    for kind, close, unknown in (("bert", "[SEP]", "[UNK]"), ("xlm-roberta", "</s>", "<unk>")):
        folder = seeded.write_bert(tmp_path / kind, kind)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokens = tokenizer.encode("A planet travels relentlessly, 光は!").tokens
        assert tokens[-1] == close
        assert any("planet" in token for token in tokens)  # whole words
        assert len(tokens) > 12  # and parts of others
        assert tokenizer.encode("\U0001f98a").tokens[-2] in (unknown, "\U0001f98a")
        special = list(tokenizer.get_added_tokens_decoder().values())
        assert len(special) == 5
        assert all(token.special for token in special)


@pytest.mark.parametrize("shards", [2, 3, 7])
def test_shards_hold_every_tensor_once(small, tmp_path, shards):
    folder = seeded.write_v5_text_small(tmp_path / "sharded", shards=shards)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert not (folder / "model.safetensors").exists()
    assert len(list(folder.glob("model-*.safetensors"))) == shards
    assert set(index["weight_map"]) == set(tensors_of(small))
    assert index["metadata"]["total_size"] == sum(v.size * 2 for v in tensors_of(small).values())


@pytest.mark.parametrize("text", ["Query: hello", "", "光は速い \r\n\t ", "e\u0301", "🦊" * 3])
def test_the_small_tokenizer_is_built_as_qwen_s(small, tmp_path, text):
    tokenizer = Tokenizer.from_file(str(small / "tokenizer.json"))
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)  # nothing is appended
    closing = seeded.write_decoder(tmp_path / "qwen3", "qwen3")
    closed = Tokenizer.from_file(str(closing / "tokenizer.json")).encode(text)
    assert closed.ids == [*ids, tokenizer.token_to_id("<|endoftext|>")]


def test_a_given_tokenizer_is_copied_to_the_byte(small, tmp_path):
    given = small / "tokenizer.json"
    folder = seeded.write_v5_text_small(tmp_path / "model", tokenizer=given)
    assert (folder / "tokenizer.json").read_bytes() == given.read_bytes()
    appending = seeded.write_decoder(tmp_path / "qwen3", tokenizer=given)
    tokenizer = Tokenizer.from_file(str(appending / "tokenizer.json"))
    assert tokenizer.encode("x").tokens[-1] == "<|endoftext|>"
    with pytest.raises(ValueError, match=r"no token '<\|end_of_text\|>'"):
        seeded.write_v5_text_nano(tmp_path / "nano", tokenizer=given)


@pytest.mark.parametrize(
    ("kind", "present", "absent"),
    [
        ("qwen3", "layers.0.self_attn.q_norm.weight", "lm_head.weight"),
        ("qwen2", "model.layers.0.self_attn.q_proj.bias", "lm_head.weight"),
        ("llama", "model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_decoders(tmp_path, kind, present, absent):
    folder = seeded.write_decoder(tmp_path / kind, kind)
    tensors, config = tensors_of(folder), json.loads((folder / "config.json").read_text())
    assert present in tensors
    assert absent not in tensors
    assert config["tie_word_embeddings"] is True
    assert ("rope_theta" in config) == (kind != "llama")
    assert ("rope_parameters" in config) == (kind == "llama")
    assert (folder / "1_Pooling").exists() == (kind == "qwen3")
    if kind != "qwen3":
        assert config["hidden_size"] % config["num_attention_heads"] == 0


def test_refusals_leave_nothing(tmp_path, small):
    tiny = seeded.Dimensions(
        hidden=64, layers=1, heads=2, kv_heads=2, head_dim=32, intermediate=64, vocab=100
    )
    with pytest.raises(ValueError, match="tokens, more than the table's 100"):
        seeded.write_v5_text_small(tmp_path / "model", size=tiny)
    with pytest.raises(ValueError, match="unknown size 'huge'; one of tiny, demo, full"):
        seeded.write_v5_text_small(tmp_path / "model", size="huge")
    with pytest.raises(ValueError, match="unknown model 'bert'"):
        seeded.write_decoder(tmp_path / "model", "bert")
    assert list(tmp_path.iterdir()) == []
    before = (small / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        seeded.write_v5_text_small(small, seed=5)
    assert (small / "model.safetensors").read_bytes() == before


def test_writing_touches_nothing_beside_the_folder(tmp_path):
    (tmp_path / "model.part").mkdir()
    (tmp_path / "model.part" / "thesis.txt").write_text("x")
    seeded.write_bert(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.part"]
    assert (tmp_path / "model.part" / "thesis.txt").read_text() == "x"
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        seeded.write_bert(tmp_path / "gone")


def test_only_the_same_model_is_replaced(tmp_path):
    folder = tmp_path / "model"

    def write(text):
        with staged(folder, replacing="own") as part:
            (part / "README.md").write_text("---\nlicense: mit\n---\n\n# own\n")
            (part / "weights").write_text(text)

    folder.mkdir()  # empty
    write("one")
    write("two")
    assert (folder / "weights").read_text() == "two"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.txt' too, which would be lost"):
        write("three")
    (folder / "README.md").write_text("# my own things\n")
    with pytest.raises(FileExistsError, match="does not hold own"):
        write("three")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "notes.txt", "weights"]
    assert (folder / "weights").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("door", [[str(PACKAGE)], ["-m", "seeded"]], ids=["folder", "module"])
def test_command_line(tmp_path, door):
    command = [sys.executable, *door, str(tmp_path / "model"), "--model", "v5-text-nano"]
    run = partial(subprocess.run, command, cwd=PACKAGE.parent, capture_output=True, text=True)
    done = run(check=True)
    assert done.stdout.strip() == str(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    again = run(check=False)
    assert again.returncode == 1
    assert again.stderr.startswith("error: ")
    assert "exists already" in again.stderr


def test_jina_clip_has_the_real_layout(tmp_path):
    folder = tmp_path / "clip"
    command = [sys.executable, PACKAGE, folder, "--model", "jina-clip-v2"]
    subprocess.run(command, check=True, capture_output=True)
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    keys = set(tensors_of(folder))
    assert "logit_scale" in keys
    layer = "text_model.transformer.encoder.layers.0"
    assert f"{layer}.mixer.Wqkv.parametrizations.weight.0.lora_A" in keys
    assert "vision_model.blocks.0.attn.q_bias" in keys
    assert "vision_model.blocks.0.attn.k_bias" not in keys
    # Its config holds no size of the text tower but the width.
    config = json.loads((folder / "config.json").read_text())
    assert not {"num_hidden_layers", "num_attention_heads"} & config["text_config"].keys()
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("Mars").ids
    assert (ids[0], ids[-1]) == (0, 2)


def test_an_option_that_an_encoder_does_not_have_is_refused(tmp_path):
    command = [sys.executable, PACKAGE, tmp_path / "v3", "--model", "v3", "--shards", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "in one file" in done.stderr

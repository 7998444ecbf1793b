"""Static models against model2vec and Sentence Transformers: packs' vectors, and their files."""

import inspect
import json
import re

import numpy as np
import pytest
from model2vec import StaticModel
from model2vec import model as model2vec_model
from model2vec.model import quantize_model
from model2vec.persistence import persistence
from model2vec.types import StaticModelConfig
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, StaticEmbedding
from tokenizers import Tokenizer

import seeded
from embedge import Embedder, TextError
from embedge.vectors import normalize
from embedge_export.corpus.texts import CALIBRATION_TEXTS, SHORT_TEXTS
from embedge_export.export import export_pack
from embedge_export.families.static.fields import FIELDS, MODEL2VEC
from embedge_export.source.folder import open_source
from reference.samples import TEXTS
from support.doc_pages import ROOT

pytestmark = pytest.mark.filterwarnings(
    "ignore::embedge.TruncationWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
LEAST = {"fp32": 0.99999, "fp16": 0.99999, "int8": 0.999}
MORE = [
    "a word that no vocabulary has: xylqzt \u2603 \u2602 in between",
    "[CLS] and [SEP], spelled out",
    "  spaces \t and\n\nlines ",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 30,  # more than 512 tokens
]
ALL = [*(text for text in TEXTS if text), *MORE]
UNKNOWN = "\u2603 \u2602"
KINDS = {
    "float32": {},
    "float16": {"dtype": "float16"},
    "float64": {"dtype": "float64"},
    "int8": {"dtype": "int8"},
    "mapped": {"rows": 90},
    "mapped int8": {"rows": 90, "dtype": "int8"},
    "unigram": {"unigram": True},
    "not normalized": {"normalize": False},
    "short": {"max_length": 9},
}


def cosines(found, expected):
    return (normalize(found) * normalize(np.asarray(expected, np.float32))).sum(axis=1)


def compare(pack, expected, texts):
    """Every precision against a library's vectors; zeros must be zeros."""
    known = expected.any(axis=1)
    for precision, least in LEAST.items():
        with Embedder(pack, precision=precision) as embedder:
            found = embedder.encode(texts)
            assert cosines(found, expected)[known].min() >= least, precision
            assert not found[~known].any()
            for width in (8, 24):
                cut = embedder.encode(texts, truncate_dim=width)
                assert cosines(cut, expected[:, :width])[known].min() >= least - 1e-4
            with pytest.raises(TextError, match="has no token"):
                embedder.encode([""])


@pytest.mark.parametrize("kind", KINDS)
def test_packs_give_model2vecs_vectors(kind, tmp_path):
    folder = seeded.write_model2vec(tmp_path / "source", **KINDS[kind])
    export_pack(folder, out=tmp_path / "pack", precisions=tuple(LEAST))
    model = StaticModel.from_pretrained(folder)
    texts = ALL if kind == "unigram" else [*ALL, UNKNOWN]
    if kind == "short":  # of texts that its cut by characters leaves whole
        most = StaticModel.from_pretrained(folder).median_token_length * 9
        texts = ["a b c d e f g h i j k l", *(text for text in texts if len(text) <= most)]
    expected = model.encode(texts)
    if kind != "unigram":
        assert not expected[-1].any()
    compare(tmp_path / "pack", expected, texts)
    assert not model.encode([""]).any()  # the pack refuses it
    if kind == "not normalized":
        with Embedder(tmp_path / "pack", precision="fp32") as embedder:
            raw = embedder.encode(texts, normalize=False)
        np.testing.assert_allclose(raw, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_tables_that_the_library_itself_saves_are_taken(tmp_path, weighted):
    """Without a model_type, and with whatever else `save_pretrained` writes."""
    tokenizer = seeded.static.bert_tokenizer()
    size, generator = tokenizer.get_vocab_size(), np.random.default_rng(3)
    model = StaticModel(
        generator.normal(size=(size, 32)).astype(np.float32),
        tokenizer,
        weights=generator.uniform(0.1, 1, size).astype(np.float32) if weighted else None,
        max_length=40,
    )
    model.save_pretrained(tmp_path / "source")
    export_pack(tmp_path / "source", out=tmp_path / "pack", precisions=tuple(LEAST))
    compare(tmp_path / "pack", model.encode(ALL), ALL)


@pytest.mark.parametrize("apart", [False, True], ids=["beside", "apart"])
@pytest.mark.parametrize("cut", [None, 12])
def test_packs_give_sentence_transformers_vectors(tmp_path, apart, cut):
    """Unknown words count there, as any token does."""
    tokenizer = seeded.static.bert_tokenizer()
    if cut:
        tokenizer.enable_truncation(cut)
    table = np.random.default_rng(3).normal(size=(tokenizer.get_vocab_size(), 32))
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=table.astype(np.float32))],
        device="cpu",
    )
    folder = tmp_path / "source"
    model.save(str(folder))
    if apart:
        (folder / "0_StaticEmbedding").mkdir()
        for name in ("tokenizer.json", "model.safetensors"):
            (folder / name).rename(folder / "0_StaticEmbedding" / name)
        path = folder / "modules.json"
        modules = json.loads(path.read_text())
        modules[0]["path"] = "0_StaticEmbedding"
        path.write_text(json.dumps(modules))
        model = SentenceTransformer(str(folder), device="cpu")
    export_pack(folder, out=tmp_path / "pack", precisions=tuple(LEAST))
    texts = [*ALL, UNKNOWN]
    compare(tmp_path / "pack", model.encode(texts), texts)


def test_dense_layers_behind_the_mean(tmp_path):
    tokenizer = seeded.static.bert_tokenizer()
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=24), Dense(24, 40), Normalize()],
        device="cpu",
    )
    model.save(str(tmp_path / "source"))
    manifest = export_pack(tmp_path / "source", out=tmp_path / "pack", precisions=tuple(LEAST))
    assert manifest.dimension == 40
    compare(tmp_path / "pack", model.encode(ALL), ALL)


def test_one_folder_is_read_in_two_ways(tmp_path):
    """model2vec leaves unknown words out, and Sentence Transformers does not: the pack follows
    model2vec, whose folder it is."""
    folder = seeded.write_model2vec(tmp_path / "source")
    text = [MORE[0]]
    first = StaticModel.from_pretrained(folder).encode(text)
    second = SentenceTransformer(str(folder), device="cpu").encode(text)
    assert cosines(first, second)[0] < 0.99
    export_pack(folder, out=tmp_path / "pack", precisions=("fp32",))
    with Embedder(tmp_path / "pack") as embedder:
        assert cosines(embedder.encode(text), first)[0] >= 0.99999


def test_the_table_of_fields_has_all_that_the_library_knows():
    assert set(StaticModelConfig.__annotations__) <= set(FIELDS[MODEL2VEC])
    source = inspect.getsource(model2vec_model) + inspect.getsource(persistence)
    read = set(re.findall(r"""(?:config|cfg)(?:\.get\(|\.pop\(|\[)"(\w+)\"""", source))
    assert read
    assert read <= set(FIELDS[MODEL2VEC])


def test_a_very_long_text_is_cut_by_characters_first_in_model2vec(tmp_path):
    """A pack cuts at the limit in tokens alone; its source's note says so."""
    folder = seeded.write_model2vec(tmp_path / "source")
    model = StaticModel.from_pretrained(folder)
    most = model.max_length * model.median_token_length
    text = "Photosynthesis turns sunlight, water and carbon dioxide into sugar. " * 60
    assert len(text) > most
    export_pack(folder, out=tmp_path / "pack", precisions=("fp32",))
    with Embedder(tmp_path / "pack") as embedder:
        same = embedder.encode([text[:most]])
    assert cosines(same, model.encode([text]))[0] >= 0.99999
    assert any("characters" in note for note in open_source(folder).notes)


@pytest.mark.parametrize("layout", ["static", "model2vec", "quantized"])
def test_real_weights_in_every_layout(tmp_path, layout):
    """WordLlama's table of 32,000 tokens; by model2vec's own code also with 30 rows shared."""
    real = ROOT / "models" / "wordllama-256"
    if not (real / "modules.json").exists():
        pytest.skip("there is no models/wordllama-256; `make wordllama` fetches it")
    library = SentenceTransformer(str(real), device="cpu")
    folder, least = real, {"fp32": 0.99999, "fp16": 0.99999, "int8": 0.999}
    texts = [*ALL, *SHORT_TEXTS, *CALIBRATION_TEXTS]
    if layout != "static":
        table = library[0].embedding.weight.detach().float().numpy()
        library = StaticModel(table, library[0].tokenizer, normalize=True)
        if layout == "quantized":
            library = quantize_model(library, vocabulary_quantization=30)
        folder = tmp_path / "source"
        library.save_pretrained(folder)
        library = StaticModel.from_pretrained(folder)
    manifest = export_pack(folder, out=tmp_path / "pack", precisions=tuple(least))
    if layout == "quantized":
        assert manifest.size_of("int8") < 500_000
    expected = library.encode(texts)
    for precision, bar in least.items():
        with Embedder(tmp_path / "pack", precision=precision) as embedder:
            assert cosines(embedder.encode(texts), expected).min() >= bar


def test_a_table_can_be_read_back(tmp_path):
    """What the seeded writer writes is what the library reads: no field or tensor of our own."""
    folder = seeded.write_model2vec(tmp_path / "source", rows=90)
    StaticModel.from_pretrained(folder).save_pretrained(tmp_path / "again")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("source", "again"))
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)
    save_file(one, tmp_path / "copy.safetensors")
    assert Tokenizer.from_file(str(tmp_path / "again" / "tokenizer.json")).get_vocab_size()

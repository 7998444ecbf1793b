"""Static models: what is read of their folders, and vectors that a reader can compute."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

import seeded
from embedge import Embedder, TextError
from embedge.engine.session import OnnxSession
from embedge.errors import OptionError, SourceError
from embedge.selftest import compare
from embedge.vectors import normalize
from embedge_export.export import export_pack
from embedge_export.gate.compare import compare as compare_vectors
from embedge_export.model import open_model
from embedge_export.output.pack import find_damaged
from embedge_export.source.folder import open_source

KINDS = {
    "model2vec": seeded.write_model2vec,
    "float16": lambda folder: seeded.write_model2vec(folder, dtype="float16"),
    "float64": lambda folder: seeded.write_model2vec(folder, dtype="float64"),
    "int8, mapped": lambda folder: seeded.write_model2vec(folder, rows=50, dtype="int8"),
    "unigram": lambda folder: seeded.write_model2vec(folder, unigram=True),
    "static": seeded.write_static_embedding,
    "static, apart": lambda folder: seeded.write_static_embedding(folder, place="0_Static"),
}
TEXTS = [
    "Mars",
    "Which planet is known as the Red Planet?",
    "Mars, known for its reddish appearance, 光 and 量 and [SEP] too.",
    "light " * 700,
]
ALL_UNKNOWN = "量子 ☃"


pytestmark = pytest.mark.filterwarnings("ignore::embedge.TruncationWarning")


@pytest.fixture(scope="module", params=list(KINDS))
def source(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp("static") / "source")


@pytest.fixture
def model2vec(tmp_path):
    return seeded.write_model2vec(tmp_path / "model2vec")


def expected(folder, texts, limit):
    """The mean of each text's rows, by loops: float64 (texts, width)."""
    place = next(iter(sorted(folder.rglob("tokenizer.json")))).parent
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    tokenizer.no_truncation()
    tensors = load_file(place / "model.safetensors")
    table = tensors.get("embeddings", tensors.get("embedding.weight")).astype(np.float64)
    is_model2vec = (folder / "config.json").exists()
    unknown = {tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>")} if is_model2vec else ()
    vectors = []
    for text in texts:
        total, count = np.zeros(table.shape[1]), 0
        for token in tokenizer.encode(text, add_special_tokens=False).ids[:limit]:
            if token in unknown:
                continue
            row = table[tensors["mapping"][token] if "mapping" in tensors else token]
            total += row * (tensors["weights"][token] if "weights" in tensors else 1)
            count += 1
        vectors.append(total / max(count, 1))
    return np.stack(vectors)


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_packs_give_the_mean_of_the_rows(source, tmp_path):
    """In every precision, in any batch to the last bit; and a text of unknown words has none."""
    pack = tmp_path / "pack"
    manifest = export_pack(source, out=pack, precisions=("fp32", "fp16", "int8"))
    assert manifest.family == "static"
    assert manifest.pooling == "mean"
    assert manifest.text.padding == "either"
    want = expected(source, [*TEXTS, ALL_UNKNOWN], manifest.text.max_length)
    for precision, least in (("fp32", 0.999999), ("fp16", 0.99999), ("int8", 0.9995)):
        report = manifest.verification[precision]
        assert report.passed
        assert report.tasks["base"].batch_difference == 0.0
        with Embedder(pack, precision=precision) as embedder:
            raw = embedder.encode([*TEXTS, ALL_UNKNOWN], normalize=False)
            vectors = embedder.encode([*TEXTS, ALL_UNKNOWN])
            for text, vector in zip(TEXTS, vectors, strict=False):
                assert (embedder.encode(text) == vector).all()
            assert all(comparison.passed for comparison in compare(embedder))
        cosines = (normalize(want.astype(np.float32)) * vectors).sum(axis=1)
        known = want.any(axis=1)
        assert cosines[known].min() > least
        assert not vectors[~known].any()
        assert np.abs(raw - want).max() < 0.01 * np.abs(want).max()
        if precision == "fp32":
            np.testing.assert_allclose(raw, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_padding_changes_nothing_on_either_side(model2vec, tmp_path):
    export_pack(model2vec, out=tmp_path / "pack", precisions=("fp32", "int8"))
    rows = [[7, 9, 300], [5], [1, 1], [4, 8, 15, 16, 23, 42]]
    for precision in ("fp32", "int8"):
        session = OnnxSession(tmp_path / "pack" / f"base.{precision}.onnx", device="cpu", threads=1)
        alone = [session.run(np.array([row]), np.ones((1, len(row)), np.int64))[0] for row in rows]
        for before in (0, 1, 5):
            ids = np.full((len(rows), 20), 77)
            mask = np.zeros((len(rows), 20), np.int64)
            for index, row in enumerate(rows):
                ids[index, before : before + len(row)] = row
                mask[index, before : before + len(row)] = 1
            assert (session.run(ids, mask) == np.stack(alone)).all()
        assert not alone[2].any()  # [UNK] alone


def test_a_vector_of_zeros_passes_only_where_zeros_are_expected():
    texts = [np.array([number], np.int32) for number in range(8)]
    expected = np.eye(8, 16, dtype=np.float32)
    expected[3] = 0

    def judged(row, value):
        given = expected.copy()
        given[row] = value
        return compare_vectors(lambda ids, mask: given[ids[:, 0]], texts, expected).cosine_min

    assert judged(3, 0.0) == 1
    assert judged(3, 0.1) == 0
    assert judged(5, 0.0) == 0


def test_an_empty_text_is_refused_as_with_every_model_without_special_tokens(model2vec, tmp_path):
    export_pack(model2vec, out=tmp_path / "pack", precisions=("fp32",))
    with Embedder(tmp_path / "pack") as embedder, pytest.raises(TextError, match="has no token"):
        embedder.encode(["Mars", ""])


def test_no_special_tokens_stand_around_a_text(model2vec, tmp_path):
    """model2vec encodes without them, whatever tokenizer.json would add."""
    export_pack(model2vec, out=tmp_path / "pack", precisions=("fp32",))
    file = json.loads((tmp_path / "pack" / "tokenizer.json").read_text(encoding="utf-8"))
    given = json.loads((model2vec / "tokenizer.json").read_text(encoding="utf-8"))
    assert given.pop("post_processor") is not None
    assert file.pop("post_processor") is None
    assert file == given
    with Embedder(tmp_path / "pack") as embedder:
        assert embedder.count_tokens(["Mars", "of the"]).tolist() == [
            len(Tokenizer.from_file(str(model2vec / "tokenizer.json")).encode(text).ids) - 2
            for text in ("Mars", "of the")
        ]


@pytest.mark.parametrize(
    ("settings", "limit"),
    [({}, 512), ({"max_length": 9}, 9), ({"max_length": None}, 2**24), ({"seq_length": 7}, 512)],
)
def test_the_length_limit_is_model2vecs(tmp_path, settings, limit):
    folder = seeded.write_model2vec(tmp_path / "source", **settings)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 5, "cls_token": "<no>"}')
    assert open_source(folder).max_length == limit


@pytest.mark.parametrize("limit", [None, 11])
def test_sentence_transformers_takes_the_limit_of_the_tokenizers_own_file(tmp_path, limit):
    folder = seeded.write_static_embedding(tmp_path / "source")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if limit is not None:
        tokenizer.enable_truncation(limit)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert open_source(folder).max_length == (limit or 2**24)


def test_folders_are_known_without_a_model_type(model2vec, tmp_path):
    """model2vec writes none into tables that it did not distil, and first wrote no modules."""
    path = model2vec / "config.json"
    config = {"normalize": True, "embedding_dtype": "float32"}
    path.write_text(json.dumps(config))
    (model2vec / "modules.json").unlink()
    source = open_source(model2vec)
    assert open_model(source).config.unknown_id == 1
    path.write_text("{}")
    with pytest.raises(SourceError, match='has no "model_type"'):
        open_source(model2vec)


def test_no_file_outside_the_source_is_read(tmp_path):
    """Wherever a config or a list of modules points to."""
    other = seeded.write_static_embedding(tmp_path / "other")
    folder = seeded.write_static_embedding(tmp_path / "source", place="0_StaticEmbedding")
    path = folder / "modules.json"
    for place in ("../other", str(other), "0_StaticEmbedding/../../other", "..", ".git/../.."):
        path.write_text(path.read_text().replace("0_StaticEmbedding", place))
        with pytest.raises(SourceError, match=r"has (no tokenizer|neither model)"):
            open_source(folder)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "static_embedding", "network_path": "../other"})
    )
    with pytest.raises(SourceError, match=r"has (no tokenizer|neither model)"):
        open_source(folder)


def test_the_table_counts_and_not_what_the_config_says_of_its_width(tmp_path):
    folder = seeded.write_model2vec(tmp_path / "source", width=16, hidden_dim=256)
    manifest = export_pack(folder, out=tmp_path / "pack", precisions=("fp32",))
    assert manifest.dimension == 16
    assert manifest.memory.per_token == 11 * 16 + 64
    assert manifest.memory.per_token_squared == 0
    with Embedder(tmp_path / "pack") as embedder:
        full = embedder.encode(TEXTS)
        assert np.allclose(embedder.encode(TEXTS, truncate_dim=8), normalize(full[:, :8]))


def test_a_mapped_table_stays_small(tmp_path):
    """Vocabulary quantization is what makes it so: the pack keeps the mapping."""
    sizes = {}
    for name, rows in (("mapped", 20), ("whole", None)):
        folder = seeded.write_model2vec(tmp_path / name, rows=rows, width=256)
        manifest = export_pack(folder, out=tmp_path / f"{name}.pack", precisions=("fp32",))
        sizes[name] = manifest.size_of("fp32")
    assert sizes["mapped"] < sizes["whole"] / 5


def test_int4_is_refused(model2vec, tmp_path):
    with pytest.raises(OptionError, match=r"'int4': a static model is a table.*take int8"):
        export_pack(model2vec, out=tmp_path / "pack", precisions=("int8", "int4"))
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("embeddings"), "lack the table of a static model"),
        (lambda t: t.update({"embedding.weight": t["embeddings"]}), "are both the table"),
        (lambda t: t.update(embeddings=t["embeddings"][0]), "it must be \\(tokens, width\\)"),
        (lambda t: t.update(other=np.zeros(3, np.float32)), "'other' that a static model does not"),
        (lambda t: t.update(mapping=t["mapping"] + 50), "'mapping' names rows"),
        (lambda t: t.update(mapping=t["mapping"] - 50), "'mapping' names rows"),
        (lambda t: t.update(mapping=t["mapping"] + 0.5), "'mapping' names rows"),
        (lambda t: t.update(weights=t["weights"][1:]), "has shape"),
        (lambda t: t.update(mapping=t["mapping"][:9], weights=t["weights"][:9]), "and the embedd"),
        (lambda t: t["weights"].fill(np.nan), "NaN or infinity"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, change, message):
    folder = seeded.write_model2vec(tmp_path / "source", rows=50)
    edit_tensors(folder, change)
    with pytest.raises(SourceError, match=message):
        export_pack(folder, out=tmp_path / "pack", precisions=("fp32",))
    assert not (tmp_path / "pack").exists()


def test_settings_that_make_no_sense_are_refused(model2vec):
    for settings, message in (
        ({"max_length": 0}, "max_length is 0; it must be a positive"),
        ({"max_length": "512"}, "max_length is '512'; it must be a positive"),
        ({"max_length": 512, "normalize": 1}, "normalize is 1, it must be true or false"),
    ):
        edit(model2vec, **settings)
        with pytest.raises(SourceError, match=message):
            open_model(open_source(model2vec))


def test_adapters_and_modules_that_are_not_reproduced_are_refused(tmp_path):
    folder = seeded.write_static_embedding(tmp_path / "source", behind=("WordWeights",))
    with pytest.raises(SourceError, match=r"WordWeights' .* changes the vectors"):
        open_source(folder)
    shutil.rmtree(folder)
    folder = seeded.write_static_embedding(folder, behind=("Pooling",))
    with pytest.raises(SourceError, match=r"Pooling' .* changes the vectors"):
        open_source(folder)
    folder = seeded.write_static_embedding(tmp_path / "other")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([modules[1], modules[0]]))
    with pytest.raises(SourceError, match=r"StaticEmbedding' .* changes the vectors"):
        open_source(folder)


def test_a_pack_is_brought_up_to_date_and_another_models_is_not_touched(source, tmp_path):
    pack = tmp_path / "pack"
    export_pack(source, out=pack, precisions=("fp32",))
    notes = []
    manifest = export_pack(source, out=pack, precisions=("fp32", "int8"), notice=notes.append)
    assert manifest.precisions() == ("fp32", "int8")
    assert not find_damaged(pack, manifest, list(manifest.files))
    (pack / "tokenizer.json").write_bytes(b"{}")
    export_pack(source, out=pack, precisions=("fp32",), notice=notes.append)
    assert not find_damaged(pack, manifest, list(manifest.files))
    assert "its tokenizer or its manifest was made again" in notes[-1]

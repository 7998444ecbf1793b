"""Daft's embed_text and embed_image with the provider; vectors are those of `Embedder`."""

from pathlib import Path
from typing import Any

import cloudpickle
import daft
import numpy as np
import pytest
from daft.ai.protocols import ImageEmbedder, TextEmbedder
from daft.functions import decode_image, embed_image, embed_text

from embedge import Embedder, OptionError, PackError
from embedge.integrations.daft import EmbedgeProvider
from integrations.texts import TEXTS


def column(frame: Any, expression: Any) -> list[Any]:
    return frame.with_column("embedding", expression).to_pydict()["embedding"]


def test_texts_are_documents_and_queries_on_request(library: Embedder) -> None:
    frame = daft.from_pydict({"text": TEXTS})
    provider = EmbedgeProvider()
    documents = column(frame, embed_text(daft.col("text"), provider=provider))
    np.testing.assert_array_equal(np.float32(documents), library.encode_document(TEXTS))
    queries = column(frame, embed_text(daft.col("text"), provider=provider, side="query"))
    np.testing.assert_array_equal(np.float32(queries), library.encode_query(TEXTS))


def test_the_column_has_the_width_that_was_asked_for(library: Embedder) -> None:
    frame = daft.from_pydict({"text": TEXTS})
    expression = embed_text(daft.col("text"), provider=EmbedgeProvider(library), dimensions=64)
    result = frame.with_column("embedding", expression)
    assert result.schema()["embedding"].dtype == daft.DataType.embedding(
        daft.DataType.float32(), 64
    )
    expected = library.encode_document(TEXTS, truncate_dim=64)
    np.testing.assert_array_equal(np.float32(result.to_pydict()["embedding"]), expected)


def test_null_texts_have_null_vectors_in_batches_of_any_size(library: Embedder) -> None:
    texts = [None, *TEXTS, None]
    frame = daft.from_pydict({"text": texts})
    expression = embed_text(daft.col("text"), provider=EmbedgeProvider(), batch_size=2)
    found = column(frame, expression)
    assert [found[0], found[-1]] == [None, None]
    np.testing.assert_array_equal(np.float32(found[1:-1]), library.encode_document(TEXTS))


def test_a_session_knows_it_by_its_name(library: Embedder) -> None:
    session = daft.Session()
    session.attach_provider(EmbedgeProvider(task="text-matching"))
    provider = session.get_provider("embedge")
    frame = daft.from_pydict({"text": TEXTS})
    found = column(frame, embed_text(daft.col("text"), provider=provider))
    expected = library.encode_document(TEXTS, task="text-matching")
    np.testing.assert_array_equal(np.float32(found), expected)


def test_images(pictures: tuple[Path, list[Path]]) -> None:
    pack, paths = pictures
    with Embedder(pack) as embedder:
        expected = embedder.encode_image(paths)
    data = [path.read_bytes() for path in paths]
    frame = daft.from_pydict({"data": [*data, None], "path": [*map(str, paths), None]})
    frame = frame.with_column("image", decode_image(daft.col("data")))
    for name in ("data", "path", "image"):
        found = column(frame, embed_image(daft.col(name), provider=EmbedgeProvider(pack)))
        np.testing.assert_array_equal(np.float32(found[:-1]), expected)
        assert found[-1] is None


def test_wrong_options_show_before_anything_runs() -> None:
    with pytest.raises(OptionError, match="truncate_dim is 640"):
        embed_text(daft.col("text"), provider=EmbedgeProvider(), dimensions=640)
    with pytest.raises(OptionError, match="side 'left' is unknown"):
        embed_text(daft.col("text"), provider=EmbedgeProvider(), side="left")
    with pytest.raises(PackError, match="no-such-pack"):
        embed_text(daft.col("text"), provider=EmbedgeProvider(), model="no-such-pack")


def test_a_descriptor_is_sent_to_a_worker() -> None:
    descriptor = EmbedgeProvider().get_text_embedder(dimensions=64, batch_size=5)
    assert (descriptor.get_provider(), descriptor.get_model()) == ("embedge", "embedge")
    assert descriptor.get_udf_options().batch_size == 5
    descriptor.get_dimensions()
    data = cloudpickle.dumps(descriptor)
    assert len(data) < 2000
    embedder = cloudpickle.loads(data).instantiate()
    assert isinstance(embedder, TextEmbedder)
    assert embedder.embed_text(["a"])[0].shape == (64,)
    assert isinstance(EmbedgeProvider().get_image_embedder().instantiate(), ImageEmbedder)

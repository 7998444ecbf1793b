"""mteb, with torch: its bundled tasks, and which task and prompt of the pack each one gets."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.mocks import mock_tasks
from mteb.models import EncoderProtocol
from mteb.results.task_result import TaskResult
from mteb.types import PromptType
from scipy.stats import spearmanr

from embedge import Embedder, OptionError
from embedge.integrations.mteb import EmbedgeEncoder
from integrations.pages import blocks_of_the_page, run_block, run_examples
from integrations.texts import QUERY, TEXTS
from support.doc_pages import Block

KINDS = {  # a bundled task of each kind, and the task of the pack that serves it
    mock_tasks.MockRetrievalTask: "retrieval",
    mock_tasks.MockRerankingTask: "retrieval",
    mock_tasks.MockInstructionReranking: "retrieval",
    mock_tasks.MockSTSTask: "text-matching",
    mock_tasks.MockPairClassificationTask: "text-matching",
    mock_tasks.MockBitextMiningTask: "text-matching",
    mock_tasks.MockSummarizationTask: "text-matching",
    mock_tasks.MockClassificationTask: "classification",
    mock_tasks.MockMultilabelClassification: "classification",
    mock_tasks.LegacyMockClusteringFastTask: "clustering",
}
PAIRS = [
    ("A man plays a guitar.", "Someone is playing music.", 3.5),
    ("A dog runs in the park.", "The dog is running outside.", 4.4),
    ("The stock market fell today.", "A cat sleeps on the sofa.", 0.0),
    ("She reads a book.", "A woman is reading.", 4.2),
    ("It rains in London.", "The weather in London is wet.", 4.0),
    ("He fixed the car.", "The engine was replaced.", 2.2),
    ("Bread is baked from flour.", "The rocket reached orbit.", 0.1),
    ("Children play football.", "Kids are playing soccer.", 4.9),
    ("The river is deep.", "The bank lends money.", 0.6),
    ("Water boils at 100 degrees.", "Water freezes at zero degrees.", 2.5),
]


class PairsTask(mock_tasks.MockSTSTask):
    """mteb's bundled STS task, with enough pairs for a score that says something."""

    def load_data(self, **_: Any) -> None:
        first, second, scores = zip(*PAIRS, strict=True)
        rows = {"sentence1": first, "sentence2": second, "score": scores}
        self.dataset = DatasetDict({"test": Dataset.from_dict(rows)})
        self.data_loaded = True

    max_score = 5


def encode(encoder: EmbedgeEncoder, texts: list[str], task: type, **options: Any) -> np.ndarray:
    batches = [{"text": texts[:1]}, {"text": texts[1:]}]
    return encoder.encode(
        batches, task_metadata=task.metadata, hf_split="test", hf_subset="default", **options
    )


def test_the_bundled_tasks_of_texts_run() -> None:
    encoder = EmbedgeEncoder()
    assert isinstance(encoder, EncoderProtocol)
    results = mteb.mock_run(encoder)
    ran = {name: result for name, result in results.items() if result is not None}
    assert all(isinstance(result, TaskResult) for result in ran.values()), results.to_markdown()
    assert {task.metadata.name for task in KINDS} <= set(ran)
    print(results.to_markdown())


def test_the_bundled_tasks_of_images_run(pictures: tuple[Path, list[Path]]) -> None:
    results = mteb.mock_run(EmbedgeEncoder(pictures[0]))
    ran = {name: result for name, result in results.items() if result is not None}
    assert all(isinstance(result, TaskResult) for result in ran.values()), results.to_markdown()
    assert any("Image" in name for name in ran)


def test_the_score_of_sts_is_ours(library: Embedder) -> None:
    results = mteb.evaluate(EmbedgeEncoder(library), PairsTask(), cache=None)
    (scores,) = results.task_results[0].scores["test"]
    first, second, truth = zip(*PAIRS, strict=True)
    a = library.encode(list(first), task="text-matching")
    b = library.encode(list(second), task="text-matching")
    own = spearmanr((a * b).sum(axis=1), truth).statistic
    assert scores["cosine_spearman"] == pytest.approx(own, abs=1e-9)
    assert scores["main_score"] == pytest.approx(own, abs=1e-9)
    assert own > 0.8
    print("STS:", scores["main_score"], "own:", own)


@pytest.mark.parametrize(("task", "expected"), KINDS.items())
def test_the_task_and_the_prompt_follow_the_evaluation(
    task: type, expected: str, library: Embedder
) -> None:
    encoder = EmbedgeEncoder(library)
    query = encode(encoder, TEXTS, task, prompt_type=PromptType.query)
    document = encode(encoder, TEXTS, task, prompt_type=PromptType.document)
    neither = encode(encoder, TEXTS, task)
    assert np.array_equal(query, library.encode(TEXTS, task=expected, prompt="Query: "))
    assert np.array_equal(document, library.encode(TEXTS, task=expected, prompt="Document: "))
    assert np.array_equal(neither, document)
    assert not np.array_equal(query, document)
    others = set(library.tasks) - {expected}
    assert not any(np.array_equal(document, library.encode(TEXTS, task=name)) for name in others)


def test_the_table_is_that_of_the_models_own_wrapper() -> None:
    """What mteb itself runs jina-embeddings-v5 with, read from its register."""
    meta = mteb.get_model_meta("jinaai/jina-embeddings-v5-text-small")
    theirs = meta.loader_kwargs["model_prompts"]
    types = {task.metadata.type: ours for task, ours in KINDS.items()}
    assert types.items() <= theirs.items()


def test_retrieval_embeds_queries_as_queries(library: Embedder) -> None:
    class Recorder(EmbedgeEncoder):
        def encode(self, inputs: Any, *, prompt_type: Any = None, **options: Any) -> np.ndarray:
            batches = list(inputs)
            rows = super().encode(batches, prompt_type=prompt_type, **options)
            seen.append((prompt_type, [text for batch in batches for text in batch["text"]], rows))
            return rows

    seen: list[tuple] = []
    mteb.evaluate(Recorder(library), mock_tasks.MockRetrievalTask(), cache=None)
    assert {prompt_type for prompt_type, _, _ in seen} == {PromptType.query, PromptType.document}
    for prompt_type, texts, rows in seen:
        sides = {"query": library.encode_query, "document": library.encode_document}
        assert np.allclose(rows, sides[prompt_type.value](texts), atol=1e-6)


def test_a_pack_whose_tasks_have_instructions_of_their_own(make_pack: Callable[..., Path]) -> None:
    """As jina-embeddings-v3: five tasks, two of them the sides of retrieval, each with a prompt."""
    prompts = {"retrieval.query": "q: ", "retrieval.passage": "p: ", "separation": "s: "}
    pack = make_pack(tasks=tuple(prompts), prompts=prompts, default_prompt=None)
    encoder = EmbedgeEncoder(pack)
    with Embedder(pack) as embedder:
        for kind, side, task in (
            (mock_tasks.MockRetrievalTask, PromptType.query, "retrieval.query"),
            (mock_tasks.MockRetrievalTask, PromptType.document, "retrieval.passage"),
            (mock_tasks.LegacyMockClusteringFastTask, None, "separation"),
        ):
            rows = encode(encoder, ["ab", "c"], kind, prompt_type=side)
            expected = embedder.encode(["ab", "c"], task=task, prompt=prompts[task])
            assert np.array_equal(rows, expected), task


def test_options(library: Embedder) -> None:
    encoder = EmbedgeEncoder(task="retrieval", truncate_dim=64, device="cpu")
    rows = encode(encoder, TEXTS, mock_tasks.MockSTSTask)
    assert np.array_equal(rows, library.encode(TEXTS, task="retrieval", truncate_dim=64))
    assert encoder.mteb_model_meta.embed_dim == 64
    assert encoder.mteb_model_meta.revision == library.manifest.fingerprint("int8")
    assert EmbedgeEncoder(None, "r1").mteb_model_meta.revision == "r1"
    bits = encode(EmbedgeEncoder(), TEXTS, mock_tasks.MockSTSTask, precision="ubinary")
    expected = library.encode(TEXTS, task="text-matching", embedding_type="ubinary")
    assert np.array_equal(bits, expected)
    with pytest.raises(OptionError, match="'nonsense'"):
        encode(EmbedgeEncoder(task="nonsense"), TEXTS, mock_tasks.MockSTSTask)


def test_images_and_texts_of_one_item_are_added(pictures: tuple[Path, list[Path]]) -> None:
    pack, paths = pictures
    encoder = EmbedgeEncoder(pack)
    metadata = mock_tasks.MockAny2AnyRetrievalT2ITask.metadata
    place: Any = {"task_metadata": metadata, "hf_split": "test", "hf_subset": "default"}
    texts = ["ab", "c"]
    with Embedder(pack) as embedder:
        images, words = embedder.encode_image(paths), embedder.encode_document(texts)
    assert np.array_equal(encoder.encode([{"image": paths}], **place), images)
    both = encoder.encode([{"image": paths, "text": texts}], **place)
    assert np.array_equal(both, images + words)


@pytest.mark.parametrize(
    "block", blocks_of_the_page(with_torch=True), ids=lambda block: f"line {block.line}"
)
def test_a_block_of_the_page_runs(
    block: Block, capsys: pytest.CaptureFixture, library: Embedder
) -> None:
    values = run_block(block)
    said = capsys.readouterr().out
    if "mteb" in block.code:
        assert "MockRetrievalTask" in said
        return
    assert "Red Planet" in said
    index = values["index"]
    assert np.allclose(index.transform(QUERY, "query"), library.encode_query(QUERY), atol=1e-6)
    data = index.transform(TEXTS[0], "data")
    assert np.allclose(data, library.encode_document(TEXTS[0]), atol=1e-6)


def test_examples_of_docstrings() -> None:
    run_examples("mteb")

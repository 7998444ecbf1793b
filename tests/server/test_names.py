"""Which pack a name means, which protocol a body speaks, what all requests may hold together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedge import Embedder
from embedge.errors import OptionError
from embedge.server.budget import Budget
from embedge.server.models import Models
from embedge.server.refusals import Kind, Refusal
from embedge.server.speaker import speaker
from support.serving import open_pack
from support.tiny import write_pack


@pytest.fixture
def packs(tmp_path: Path) -> Iterator[dict[str, Embedder]]:
    ids = {"a": "jinaai/model-a", "b": "model-b", "c": "other/model-a"}
    opened = {
        name: open_pack(write_pack(tmp_path / name, model_id=model_id))
        for name, model_id in ids.items()
    }
    yield opened
    for one in opened.values():
        one.close()


@pytest.mark.parametrize(
    ("names", "found", "task"),
    [
        (["a"], "a", None),
        (["jinaai/model-a"], "a", None),
        (["jina-ai/a"], "a", None),
        (["b"], "b", None),
        (["model-b"], "b", None),
        (["jinaai/model-b"], "b", None),
        (["other/model-a"], "c", None),
        (["b:retrieval.query"], "b", "retrieval.query"),
        (["b", "model-b:text-matching", None], "b", "text-matching"),
    ],
)
def test_names(packs: dict[str, Embedder], names: Any, found: str, task: str | None) -> None:
    model, said = Models(packs).find(names)
    assert (model.name, said) == (found, task)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["model-a"], Kind.UNKNOWN_MODEL),  # of two packs
        (["jina-ai/model-a:dancing"], Kind.UNKNOWN_MODEL),
        (["A"], Kind.UNKNOWN_MODEL),
        ([""], Kind.UNKNOWN_MODEL),
        (["a:"], Kind.UNKNOWN_MODEL),
        ([None], Kind.INVALID),
        (["a", "b"], Kind.INVALID),
        (["a:retrieval", "a:text-matching"], Kind.INVALID),
    ],
)
def test_names_that_mean_no_pack_or_two(packs: Any, names: Any, kind: Kind) -> None:
    with pytest.raises(Refusal) as refused:
        Models(packs).find(names)
    assert refused.value.kind is kind


@pytest.mark.parametrize("name", ["", "a:b", "a\nb"])
def test_a_pack_needs_a_name_that_can_be_sent(packs: dict[str, Embedder], name: str) -> None:
    with pytest.raises(OptionError):
        Models({name: packs["a"]})
    with pytest.raises(OptionError):
        Models({})


def test_tasks_are_refused_where_two_are_said(packs: dict[str, Embedder]) -> None:
    models = Models(packs)
    assert models.find(["a:retrieval"], ["retrieval", "", None])[1] == "retrieval"
    with pytest.raises(Refusal):
        models.find(["a:retrieval"], ["text-matching"])


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"input":"a","model":"m"}', {}, "jina"),
        (b'{"input":"a","task":null}', {}, "jina"),
        (b'{"input":"a","encoding_format":"float"}', {}, "openai"),
        (b'{"input":"a","user":"u"}', {}, "openai"),
        (b'{"input":"a","encoding_format":"float","task":"retrieval.query"}', {}, "jina"),
        (b'{"input":"a"}', {"user-agent": "OpenAI/Python 3.57.0"}, "openai"),
        (b'{"input":"a"}', {"x-stainless-lang": "js"}, "openai"),
        (b'{"input":"a","task":""}', {"user-agent": "OpenAI/Python 3.57.0"}, "jina"),
        (b'{"input": [ 1,2]}', {}, "openai"),
        (b'{"input":[[1,2]]}', {}, "openai"),
        (b'{"input":[{"image":"x"}],"encoding_format":"float"}', {}, "jina"),
        (b'{"input":{"text":"x"}}', {"user-agent": "OpenAI/Go"}, "jina"),
        (b'{"input":[]}', {}, "jina"),
        (b"not JSON", {}, "jina"),
        (b"not JSON", {"user-agent": "OpenAI/Python"}, "openai"),
    ],
)
def test_which_protocol_a_body_speaks(body: bytes, headers: dict[str, str], expected: str) -> None:
    assert speaker(headers, body) == expected


def test_what_all_requests_hold_is_bounded_and_one_may_always_come() -> None:
    budget = Budget(100)
    first, second = budget.hold(), budget.hold()
    first.more(80)
    first.more(80)  # alone
    with pytest.raises(Refusal) as refused:
        second.more(1)
    assert refused.value.kind is Kind.OVERLOADED
    first.release()
    first.release()
    second.more(100)
    assert budget.held == 100

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge.calls import ALIASES, Call, alias_prompt, alias_task, resolve
from embedge.errors import OptionError
from embedge.pack.manifest import Manifest
from embedge.pack.reading import read_manifest

MakeManifest = Callable[..., Manifest]


@pytest.fixture
def make_manifest(make_pack: Callable[..., Path]) -> MakeManifest:
    def make(**options: Any) -> Manifest:
        return read_manifest(make_pack(**options))

    return make


def test_left_out_is_the_packs_default(make_manifest: MakeManifest) -> None:
    assert resolve(make_manifest(), None, None, None) == ("text-matching", "D: ")
    bare = make_manifest(prompts={}, default_prompt=None)
    assert resolve(bare, None, None, None) == ("text-matching", "")


def test_an_alias_is_a_task_and_a_prompt(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    assert resolve(manifest, "retrieval.query", None, None) == ("retrieval", "Q: ")
    assert resolve(manifest, "retrieval.passage", None, None) == ("retrieval", "D: ")
    assert resolve(manifest, "retrieval.passage", None, "P: ") == ("retrieval", "P: ")
    passages = make_manifest(prompts={"passage": "P: "}, default_prompt=None)
    assert resolve(passages, "retrieval.passage", None, None) == ("retrieval", "P: ")
    assert resolve(passages, "retrieval.query", None, None) == ("retrieval", "")


def test_a_packs_own_task_of_that_name_comes_first(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(tasks=("retrieval", "retrieval.query"))
    assert resolve(manifest, "retrieval.query", None, None) == ("retrieval.query", "D: ")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("corpus", "query"), "corpus"),
        (("corpus", "passage"), "passage"),
        (("corpus", "passage", "document"), "document"),
        (("query",), None),
    ],
)
def test_documents_take_the_first_of_sentence_transformers_names(
    make_manifest: MakeManifest, names: tuple[str, ...], expected: str | None
) -> None:
    manifest = make_manifest(prompts={name: f"{name}: " for name in names}, default_prompt=None)
    assert alias_prompt(manifest, "retrieval.passage") == expected


def test_the_default_prompt_is_never_put_on_the_other_side(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(prompts={"query": "Q: "}, default_prompt="query")
    assert resolve(manifest, "retrieval.passage", None, None) == ("retrieval", "")
    assert resolve(manifest, "retrieval.query", None, None) == ("retrieval", "Q: ")
    assert resolve(manifest, "retrieval", None, None) == ("retrieval", "Q: ")


@pytest.mark.parametrize("alias", list(ALIASES))
def test_an_alias_needs_its_task(make_manifest: MakeManifest, alias: str) -> None:
    manifest = make_manifest(tasks=("base",))
    with pytest.raises(OptionError, match=f"'{alias}' is not in this pack; it has 'base'"):
        resolve(manifest, alias, None, None)
    assert alias_task(manifest, alias) is None


def test_an_alias_says_what_the_pack_has_for_it(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(prompts={"passage": "P: ", "document": "D: "})
    assert alias_task(manifest, "retrieval.passage") == "retrieval"
    assert alias_prompt(manifest, "retrieval.passage") == "document"
    assert alias_prompt(manifest, "retrieval.query") is None


def test_contradictions_are_refused(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    with pytest.raises(OptionError, match="both given"):
        resolve(manifest, None, "query", "Q: ")
    with pytest.raises(OptionError, match="pass task='retrieval' to choose"):
        resolve(manifest, "retrieval.query", "document", None)


def test_a_call_is_plain_and_equal_to_one_that_means_the_same(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    ranges = np.array([[-1.0] * 8, [1.0] * 8])
    call = Call.of(manifest, task="retrieval.query", embedding_type="int8", ranges=ranges)
    same = Call.of(
        manifest, task="retrieval", prompt="Q: ", embedding_type="int8", ranges=ranges.tolist()
    )
    assert call == same
    assert len({call, same, Call.of(manifest)}) == 2
    assert (call.task, call.prompt, call.width, call.max_length) == ("retrieval", "Q: ", 8, 64)
    assert call.ranges == ((-1.0,) * 8, (1.0,) * 8)
    assert pickle.loads(pickle.dumps(call)) == call
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.task = "x"  # type: ignore[misc]


def test_options_of_a_call_are_checked(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    for wrong in (
        *({"truncate_dim": 9}, {"max_length": 0}, {"normalize": "yes"}, {"upright": 2}),
        *({"embedding_type": "int3"}, {"ranges": [[0], [1]]}, {"on_overflow": "ignore"}),
        *({"tower": "sound"}, {"allow_urls": None}, {"task": 1}),
        {"embedding_type": "int8", "ranges": [[0.0], [1.0]]},
    ):
        with pytest.raises(OptionError):
            Call.of(manifest, **wrong)
    assert Call.of(manifest, tower="image", task="retrieval.query").prompt == ""

"""Prompts that belong to a task: packs whose tasks have instructions of their own."""

import dataclasses

import pytest

from embedge.calls import alias_prompt, alias_task, resolve
from embedge.pack.reading import read_manifest
from support.tiny import write_pack


@pytest.fixture
def manifest(tmp_path):
    plain = read_manifest(write_pack(tmp_path / "pack"))
    return dataclasses.replace(
        plain,
        tasks=("retrieval.query", "retrieval.passage"),
        default_task="retrieval.query",
        prompts={"retrieval.query": "Q: "},
        default_prompt=None,
    )


@pytest.mark.parametrize(
    ("task", "prompt_name", "prompt", "expected"),
    [
        (None, None, None, ("retrieval.query", "")),  # not asked for: no instruction
        ("retrieval.query", None, None, ("retrieval.query", "Q: ")),
        ("retrieval.query", None, "", ("retrieval.query", "")),
        ("retrieval.passage", None, None, ("retrieval.passage", "")),
        ("retrieval.passage", "retrieval.query", None, ("retrieval.passage", "Q: ")),
    ],
)
def test_an_instruction_comes_with_the_task_that_is_asked_for(
    manifest, task, prompt_name, prompt, expected
):
    assert resolve(manifest, task, prompt_name, prompt) == expected


def test_the_names_of_the_hosted_api_are_tasks_of_their_own_here(manifest):
    assert alias_task(manifest, "retrieval.passage") == "retrieval.passage"
    assert alias_prompt(manifest, "retrieval.query") == "retrieval.query"
    assert alias_prompt(manifest, "retrieval.passage") is None

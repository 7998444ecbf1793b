"""The files of docs/deploy/ and the blocks of docs/server.md name options that there are.

`make lint-deploy` checks their form, with programs that are not in this environment.
"""

import json
import re
from pathlib import Path

import pytest

from embedge import cli
from support.doc_pages import ROOT, blocks

FILES = sorted((ROOT / "docs" / "deploy").iterdir())
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
# Options of docker and kubectl, in the comments that say how to use a file.
THEIRS = {
    "--build-arg",
    "--filename",
    "--from-file",
    "--no-cache-dir",
    "--now",
    "--publish",
    "--read-only",
    "--rm",
    "--stop-timeout",
    "--tag",
    "--tmpfs",
    "--volume",
    "--interval",
    "--start-period",
    "--timeout",
}


@pytest.fixture(scope="module")
def options() -> set[str]:
    """All options of `embedge serve`."""
    parser = cli.build_parser()
    (commands,) = (a for a in parser._actions if isinstance(a.choices, dict))
    assert isinstance(commands.choices, dict)
    return {name for one in commands.choices["serve"]._actions for name in one.option_strings}


@pytest.mark.parametrize("path", [*FILES, ROOT / "docs" / "server.md"], ids=lambda path: path.name)
def test_the_options_exist(path: Path, options: set[str]) -> None:
    named = set(OPTION.findall(path.read_text(encoding="utf-8")))
    assert named - options - THEIRS == set()


def test_the_time_to_stop_is_enough() -> None:
    """What stops the server waits longer than the server takes, by default and as set there."""
    from embedge.server.settings import Settings

    needs = Settings().drain_seconds + Settings().grace_seconds
    unit, kubernetes = (
        (ROOT / "docs" / "deploy" / name).read_text(encoding="utf-8")
        for name in ("embedge.service", "kubernetes.yaml")
    )
    (limit,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(limit) > needs
    (limit,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", kubernetes)
    set_there = re.findall(r"--(?:drain|grace)-seconds=(\d+)", kubernetes)
    assert int(limit) > sum(map(int, set_there)) >= needs


def test_blocks_of_json_are_json() -> None:
    found = [block for block in blocks("docs/server.md") if block.language == "json"]
    assert found
    for block in found:
        json.loads(block.code)

"""Every Python and shell block of the documentation runs, in the order of its page.

The blocks of a page share one folder and one Python namespace. The folder holds what they name: the
bundled pack as "v5-small", a tiny pack with an image tower as "clip-v2", a tiny model, texts and
photos. A block under `<!-- not run: REASON -->` is only checked for its syntax.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.doc_pages import LANGUAGES, NAMES, NOT_RUN, ROOT, Block, blocks
from support.tiny import IMAGE, write_pack

BASH = None if sys.platform == "win32" else shutil.which("bash")  # Windows' own is WSL's
ENOUGH = 12  # characters of a reason


def with_blocks() -> list[str]:
    return [name for name in NAMES if any(block.language in LANGUAGES for block in blocks(name))]


@pytest.fixture
def folder(tmp_path: Path, bundled: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the blocks of a page run in."""
    place = tmp_path / "page"
    place.mkdir()
    shutil.copytree(bundled, place / "v5-small")
    shutil.copytree(model, place / "my-model")
    write_pack(place / "clip-v2", image=IMAGE)
    (place / "docs").mkdir()
    for path in (ROOT / "docs").glob("[a-e]*.md"):  # a few will do
        shutil.copy(path, place / "docs")
    (place / "notes").mkdir()
    (place / "notes" / "travel.txt").write_text("The passport office opens at nine.\n")
    (place / "texts.jsonl").write_text('{"id": 1, "text": "one"}\n"another"\n')
    (place / "texts.txt").write_text("one text a line\nanother\n")
    (place / "photos").mkdir()
    for name, color in (("a.jpg", 40), ("b.png", 90), ("photos/c.png", 200)):
        Image.fromarray(np.full((8, 8, 3), color, np.uint8)).save(place / name)
    monkeypatch.chdir(place)
    monkeypatch.delenv("EMBEDGE_PACK", raising=False)
    return place


@pytest.mark.parametrize("name", with_blocks())
def test_the_blocks_of_a_page_run(name: str, folder: Path) -> None:
    values: dict[str, Any] = {}
    for block in blocks(name):
        if block.language == "python":
            # With its lines where the page has them, so that a traceback points there.
            code = compile("\n" * (block.line - 1) + block.code, block.page, "exec")
            if block.reason is None:
                exec(code, values)
        elif block.language == "sh" and BASH is not None:
            run_shell(block, folder)


def run_shell(block: Block, folder: Path) -> None:
    """Runs a block in bash, which ends at its first error; or checks its syntax."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    options = ["-n"] if block.reason is not None else ["-eu", "-o", "pipefail"]
    assert BASH is not None
    done = subprocess.run(
        [BASH, *options, "-c", block.code],
        cwd=folder,
        env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"{block.page}:{block.line}\n{block.code}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_run_says_why(name: str) -> None:
    found = list(blocks(name))
    reasons = [block.reason for block in found if block.reason is not None]
    assert all(len(reason) >= ENOUGH for reason in reasons)
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(NOT_RUN.findall(text)) == len(reasons), "a marker that stands before no block"
    assert {block.language for block in found} <= {*LANGUAGES, "", "text", "json", "js", "mermaid"}

"""The examples in the docstrings of the runtime and the exporter run, on the bundled pack.

Those of adapters need the frameworks, and are run by tests/integrations.
"""

import doctest
import importlib
import shutil
from pathlib import Path

import pytest

import embedge
import embedge_export
from support.adapters import is_adapter


def modules() -> list[str]:
    """Those that hold an example."""
    found = []
    for package in (embedge, embedge_export):
        for folder in package.__path__:
            for path in Path(folder).rglob("*.py"):
                if ">>> " in path.read_text(encoding="utf-8"):
                    parts = path.relative_to(Path(folder).parent).with_suffix("").parts
                    found.append(".".join(parts).removesuffix(".__init__"))
    return sorted(name for name in found if not is_adapter(name))


@pytest.mark.parametrize("name", modules())
def test_examples_run(
    name: str, bundled: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundled, tmp_path / "my-pack")
    shutil.copytree(model, tmp_path / "my-model")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "travel.txt").write_text("The passport office opens at nine.\n")
    (tmp_path / "texts.jsonl").write_text('{"id": 1, "text": "one"}\n"another"\n')
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0, "see what was printed above"


def test_none_is_skipped() -> None:
    """An example that is not run does not stay right."""
    for name in modules():
        path = importlib.import_module(name).__file__
        assert path is not None
        assert "doctest: +SKIP" not in Path(path).read_text(encoding="utf-8"), name

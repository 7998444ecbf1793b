"""The workflows test what the project promises; `make workflows` checks their syntax."""

import re
import tomllib

from support.doc_pages import ROOT


def test_every_version_of_python_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert project["requires-python"] == f">={promised[0]}"
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    matrices = re.findall(r"python: \[(.+)\]", text)
    assert matrices
    for matrix in matrices:
        assert re.findall(r"3\.\d+", matrix) == promised

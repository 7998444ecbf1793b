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


def test_what_a_workflow_names_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named, files = set(), set()
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for command in re.findall(r"^ *- run: (.+)$", workflow.read_text("utf-8"), re.MULTILINE):
            program, *words = command.split()
            named.update(words if program == "make" else [])
            files.update(word for word in words if re.match(r"(tests|examples|models)/", word))
    assert {"test-frozen", "test-wheel"} <= named
    assert "examples/frozen/sidecar.spec" in files
    assert named <= targets
    assert [file for file in files if not (ROOT / file).exists()] == []

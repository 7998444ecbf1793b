"""The Makefile: export targets are real files, and each target is explained."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EMBEDGE = """#!/usr/bin/env bash
echo "$@" >> calls
[ "$2" != nosuch ] || exit 2
while [ "$1" != --out ]; do shift; done
mkdir -p "$2"
echo '{}' > "$2/manifest.json"
"""

OF_AN_OUTER_MAKE = ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def tree(tmp_path):
    """The Makefile with an environment whose `embedge` only notes how it was called."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "embedge").write_text(EMBEDGE)
    (binaries / "embedge").chmod(0o755)
    (tmp_path / ".venv" / "stamp").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path


def make(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As from a shell: under `make test` a make would know itself the inner one, and say so."""
    environment = {k: value for k, value in os.environ.items() if k not in OF_AN_OUTER_MAKE}
    return subprocess.run(
        ["make", *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )


def calls(tree: Path) -> list[str]:
    path = tree / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_a_second_run_does_nothing_and_a_change_rebuilds(tree):
    arguments = ["export", "MODEL=model", "PRECISIONS=fp32 int8", "OUT=packs/m"]
    done = make(tree, *arguments)
    assert done.returncode == 0, done.stderr
    assert calls(tree) == ["export model --out packs/m --precisions fp32,int8"]
    make(tree, *arguments)
    assert len(calls(tree)) == 1

    make(tree, *arguments, "TASKS=retrieval clustering")
    assert calls(tree)[1].endswith("--tasks retrieval,clustering")
    make(tree, *arguments, "TASKS=retrieval clustering")
    assert len(calls(tree)) == 2

    (tree / "model" / "new.safetensors").touch()
    later = (tree / "packs" / "m" / "manifest.json").stat().st_mtime + 10
    os.utime(tree / "model" / "new.safetensors", (later, later))
    make(tree, *arguments, "TASKS=retrieval clustering")
    assert len(calls(tree)) == 3


def test_a_second_run_says_that_nothing_was_to_be_done(tree):
    for _ in range(2):
        done = make(tree, "export", "MODEL=model")
        assert done.stdout.splitlines()[-1] == "models/packs/model is up to date"
        assert done.stderr == ""
    assert len(calls(tree)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["MODEL=my model"],
        ["MODEL=my model", "OUT=packs/m"],
        ["MODEL=model", "OUT=with space"],
        ["MODEL=model", "OUT="],
        ["MODEL=model", "OUT= "],
        ["MODEL=model; touch oops"],
        ["MODEL=it's"],
        ["MODEL=`touch oops`"],
        ["MODEL=model", "OUT=a:b"],
        ["MODEL=model", "OUT=x%y"],
        ["MODEL=(model)"],
        ["MODEL=mo\\del"],
        ["MODEL=model", "TASKS=a;touch oops"],
        ["MODEL=model", "REVISION=$$(touch oops)"],
    ],
)
def test_names_that_make_would_take_apart_are_refused(tree, arguments):
    refused(tree, "export", *arguments)


@pytest.mark.parametrize("name", ["my model", "it's", "`touch oops`", "(model)"])
def test_they_are_refused_for_the_named_model_too(tree, name):
    refused(tree, "v5-text-small", f"MODEL={name}")


def refused(tree, *arguments):
    (tree / "my model").mkdir()
    before = sorted(tree.rglob("*"))
    done = make(tree, *arguments)
    assert done.returncode == 2
    assert "without spaces and signs of the shell" in done.stderr
    assert 'embedge export "my model" --out "my pack"' in done.stderr
    assert "Circular" not in done.stderr
    assert sorted(tree.rglob("*")) == before


def test_what_fails_leaves_nothing_and_is_tried_again(tree):
    before = sorted(tree.rglob("*"))
    for count in (1, 2):
        assert make(tree, "export", "MODEL=nosuch").returncode == 2
        assert len(calls(tree)) == count
    assert set(tree.rglob("*")) - set(before) == {tree / "calls"}


def test_without_the_hub_a_folder_can_be_named(tree):
    (tree / ".venv" / "bin" / "embedge").write_text("#!/usr/bin/env bash\nexit 2\n")
    for target in ("export MODEL=org/name", "v5-text-small"):
        done = make(tree, *target.split())
        assert done.returncode == 2
        assert f"name that: make {target.split()[0]} MODEL=folder\n" in done.stderr
    # A folder that is there was named already.
    assert "MODEL=folder" not in make(tree, "v5-text-small", "MODEL=model").stderr


def test_a_file_with_a_space_in_the_model_is_no_trouble(tree):
    for name in ("config copy.json", "adapters/my own/adapter_config.json"):
        (tree / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "model" / name).touch()
    for _ in range(2):
        assert make(tree, "export", "MODEL=model").returncode == 0
    assert len(calls(tree)) == 1


def test_the_home_folder_can_be_meant_by_its_sign(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree / "home"))
    for _ in range(2):
        assert make(tree, "export", "MODEL=model", "OUT=~/pack").returncode == 0
    assert calls(tree) == [f"export model --out {tree}/home/pack"]
    assert (tree / "home" / "pack.options").exists()


def test_another_model_s_pack_is_replaced_if_asked_for(tree):
    make(tree, "export", "MODEL=model", "REPLACE=1")
    (call,) = calls(tree)
    assert call == "export model --out models/packs/model --replace"


def test_the_default_pack_is_made_anew_when_checkpoint_or_exporter_change(tree):
    checkpoint = tree / "models" / "embedge-mini"
    exporter = tree / "export" / "embedge_export"
    for folder in (checkpoint / "adapters" / "retrieval", exporter / "precision"):
        folder.mkdir(parents=True)
    sources = (
        checkpoint / "config.json",
        checkpoint / "adapters" / "retrieval" / "adapter_model.safetensors",
        exporter / "precision" / "int8.py",
    )
    for path in sources:
        path.touch()
    made = tree / "runtime" / "embedge" / "default" / "manifest.json"
    call = "export models/embedge-mini --out runtime/embedge/default --precisions int8"
    for _ in range(2):
        assert make(tree, "default").returncode == 0
        assert calls(tree) == [call]
    for count, path in enumerate(sources, 2):
        later = made.stat().st_mtime + 10
        os.utime(path, (later, later))
        (made.parent / "stale.onnx").touch()
        make(tree, "default")
        assert calls(tree) == [call] * count
        assert not (made.parent / "stale.onnx").exists()  # not merely brought up to date
        os.utime(path, (1, 1))
    make(tree, "default", "DEFAULT_MODEL=model")
    assert calls(tree)[-1].startswith("export model --out runtime/embedge/default ")
    make(tree, "default", "DEFAULT_MODEL=model")
    assert len(calls(tree)) == len(sources) + 2


def test_a_missing_checkpoint_is_told_and_never_looked_for_on_the_hub(tree):
    done = make(tree, "default")
    assert done.returncode != 0
    assert "models/embedge-mini holds no model: restore it from git" in done.stderr
    assert calls(tree) == []


@pytest.mark.parametrize("target", ["test", "test-oldest", "wheel", "demo"])
def test_what_needs_the_default_pack_makes_it(tree, target):
    (tree / "models" / "embedge-mini").mkdir(parents=True)
    (tree / "models" / "embedge-mini" / "config.json").touch()
    planned = make(tree, "--dry-run", target).stdout
    assert "--out runtime/embedge/default" in planned


def test_the_named_model_is_pinned_and_may_come_from_a_folder(tree):
    make(tree, "v5-text-small")
    (call,) = calls(tree)
    assert call.startswith("export jinaai/jina-embeddings-v5-text-small --out models/packs/v5-")
    assert re.search(r"--revision [0-9a-f]{40}$", call)
    make(tree, "v5-text-small", "MODEL=model")
    assert calls(tree)[1].startswith("export model --out models/packs/v5-text-small")
    assert "--revision" not in calls(tree)[1]


def test_export_without_a_model_says_how(tree):
    done = make(tree, "export")
    assert done.returncode != 0
    assert "MODEL=folder-or-hub-id" in done.stderr


def test_the_benches_take_a_model_and_options(tree):
    for target, subject in (("bench", "race"), ("bench-memory", "memory")):
        command = f"PYTHONPATH=tests:models .venv/bin/python -m bench.{subject}.run --model-kind"
        (planned,) = make(tree, "--dry-run", target).stdout.splitlines()
        assert planned.rstrip() == f"{command} v5-text-small"
        arguments = ("MODEL_KIND=v5-text-nano", "OPTIONS=--peers 'embedge int8' --rounds 1")
        (planned,) = make(tree, "--dry-run", target, *arguments).stdout.splitlines()
        assert planned == f"{command} v5-text-nano --peers 'embedge int8' --rounds 1"


def test_bench_gpu_installs_nothing_without_a_device(tree):
    script = tree / "tests" / "bench" / "machine" / "cuda.py"
    script.parent.mkdir(parents=True)
    script.write_text('import sys\nsys.exit("bench-gpu: this machine has no CUDA device")\n')
    done = make(tree, "bench-gpu")
    assert done.returncode == 2
    assert done.stderr.startswith("bench-gpu: this machine has no CUDA device")
    assert not (tree / ".venv-gpu").exists()


def test_help_explains_every_target(tree):
    phony = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"^make (\S+) ", make(tree).stdout, re.MULTILINE))
    assert told == phony - {"FORCE"}


def test_help_has_what_a_visitor_wants_first(tree):
    shown = make(tree).stdout.splitlines()
    titles = [line for line in shown if line.endswith(":") and not line.startswith("make ")]
    assert titles[0] == "To start with:"
    assert len(titles) == 5
    place = {line.split()[1]: number for number, line in enumerate(shown) if line[:5] == "make "}
    second = shown.index(titles[1])
    for target in ("setup", "demo", "default", "export", "v5-text-small", "wheel"):
        assert place[target] < second
    for target in ("test", "bench", "minilm", "clean"):
        assert place[target] > second
    assert shown.index(titles[2]) < place["bench"] < place["minilm"] < place["clean"]


def test_torch_is_named_exactly_and_only_in_its_own_environment():
    lines = (ROOT / "Makefile").read_text().splitlines()
    package = re.compile(r"(?<![\w/-])torch(?![\w/-])")  # and no folder of tests
    installs = [line for line in lines if package.search(line) and "#" not in line]
    assert installs
    assert all("torch==2.13.0" in line for line in installs)

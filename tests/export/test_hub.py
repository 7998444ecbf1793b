"""Fetching from a hub: a tiny one on this machine, with two commits whose adapters differ."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

import seeded
from embedge.errors import MissingExtraError, SourceError
from embedge_export.source import files as source_files
from embedge_export.source import hub
from support.source_kinds import KINDS, write_kind

NAME = "seeded/v5"
OLD, NEW = "a" * 40, "b" * 40
STRANGE_FILES = ("modeling_own.py", "onnx/model.onnx", "model.gguf", "pytorch_model.bin")


class Hub:
    """What the hub's API answers about one repository of two commits; `main` can move."""

    def __init__(self, commits):
        self.commits = commits  # commit -> folder
        self.main = OLD
        self.requests = []  # paths
        self.moves_after = None  # the main branch moves after an answer whose path has this
        self.refuse = None  # (status, error code)

    def answer(self, path):
        """(status, headers, body) of a GET."""
        self.requests.append(path)
        result = self.look_up(path)
        if self.moves_after is not None and self.moves_after in path:
            self.main = NEW
        return result

    def look_up(self, path):
        if self.refuse is not None:
            status, code = self.refuse
            return status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}"
        path = unquote(path.split("?")[0])
        if path.startswith(f"/api/models/{NAME}"):
            rest = path.removeprefix(f"/api/models/{NAME}").strip("/").split("/")
            commit = self.commit(rest[1] if len(rest) > 1 else "main")
            if commit is None:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            files = self.files(commit)
            body: list[Any] | dict[str, Any]
            if rest[0] == "tree":
                body = [{"type": "file", "path": name} | self.about(p) for name, p in files.items()]
            else:
                siblings = [{"rfilename": name} for name in files]
                body = {"id": NAME, "modelId": NAME, "sha": commit, "siblings": siblings}
            return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()
        if path.startswith(f"/{NAME}/resolve/"):
            revision, _, name = path.removeprefix(f"/{NAME}/resolve/").partition("/")
            commit = self.commit(revision)
            files = self.files(commit) if commit else {}
            if name in files:
                body = files[name].read_bytes()
                tag = f'"{hashlib.sha256(body).hexdigest()}"'
                return 200, {"ETag": tag, "X-Repo-Commit": commit}, body
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"

    def commit(self, revision):
        revision = self.main if revision == "main" else revision
        return revision if revision in self.commits else None

    def files(self, commit):
        root = self.commits[commit]
        return {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}

    def about(self, path):
        return {"size": path.stat().st_size, "oid": hashlib.sha1(path.read_bytes()).hexdigest()}


@pytest.fixture(scope="module")
def commits(tmp_path_factory):
    """Two commits with one base; seed 1's adapters in the newer."""
    root = tmp_path_factory.mktemp("hub")
    old = seeded.write_v5_text_small(root / "old")
    other = seeded.write_v5_text_small(root / "other", seed=1)
    for name in STRANGE_FILES:
        (old / name).parent.mkdir(exist_ok=True)
        (old / name).write_text("raise SystemExit('code of a model was run')")
    new = shutil.copytree(old, root / "new")
    shutil.rmtree(new / "adapters")
    shutil.copytree(other / "adapters", new / "adapters")
    return {OLD: old, NEW: new}


@pytest.fixture
def server(commits):
    """A running hub: (Hub, its address)."""
    with serving(Hub(commits)) as running:
        yield running


@contextlib.contextmanager
def serving(state):
    """(Hub, its address) while it runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = state.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state, f"http://127.0.0.1:{running.server_address[1]}"
        finally:  # also after a failure: a server without its socket would run for ever
            running.shutdown()
            thread.join()


SCRIPT = """
import json, sys
from embedge.errors import EmbedgeError
from embedge_export import open_for_merging, open_source
options = json.loads(sys.argv[2])
merged = options.pop("merged", None)
try:
    if merged is None:
        source = open_source(sys.argv[1], **options)
    else:
        source = open_for_merging(sys.argv[1], merged, **options)
    folder = source.folder
    print(json.dumps({
        "id": source.model_id, "revision": source.revision, "files": dict(source.files),
        "all": sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()),
    }))
except EmbedgeError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


@pytest.fixture
def ask(server, tmp_path):
    """Opens a source in a process of its own: the tiny hub, and a cache of this test alone."""

    def ask(name=NAME, *, variables=None, **options):
        environment = {k: v for k, v in os.environ.items() if not k.upper().endswith("_PROXY")}
        environment |= {
            "HF_ENDPOINT": server[1],
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_ETAG_TIMEOUT": "5",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, name, json.dumps(options)],
            env=environment | (variables or {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    return ask


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def matches(source, commit, commits):
    expected = digests(commits[commit])
    return source["revision"] == commit and all(
        expected[name] == digest for name, digest in source["files"].items()
    )


@pytest.mark.parametrize("moment", [f"/api/models/{NAME}", "/resolve/"])
def test_one_commit_serves_all_even_if_the_branch_moves_meanwhile(ask, server, commits, moment):
    state, _ = server
    state.moves_after = moment
    source = ask()
    assert source["id"] == NAME
    assert matches(source, OLD, commits)
    assert not matches(source | {"revision": NEW}, NEW, commits)  # the commits do differ
    # No file was asked for by the name of a branch.
    resolved = [path for path in state.requests if "/resolve/" in path]
    assert resolved
    assert not [path for path in resolved if "/resolve/main/" in path]
    # The branch has moved: a later export gets all of the new one.
    assert matches(ask(), NEW, commits)


def test_a_commit_can_be_named(ask, commits):
    assert matches(ask(revision=NEW), NEW, commits)


def test_only_data_is_fetched(ask, server):
    source = ask()
    assert not {name for name in source["all"] if name in STRANGE_FILES}
    assert not [p for p in server[0].requests if "/resolve/" in p and p.endswith(STRANGE_FILES)]
    assert set(source["all"]) == set(source["files"])


def test_a_network_without_a_plain_form_is_refused_before_its_weights_are_fetched(
    tmp_path, ask, server
):
    server[0].commits = {OLD: seeded.write_model2vec(tmp_path / "static")}
    answer = ask(merged=str(tmp_path / "plain"))
    assert "no plain form of model_type 'model2vec'" in answer["message"]
    assert not [path for path in server[0].requests if path.endswith(".safetensors")]


def test_offline_takes_the_cache_and_asks_nobody(ask, server, commits):
    ask(revision=NEW)
    ask()  # main
    server[0].requests.clear()
    assert matches(ask(offline=True), OLD, commits)
    assert matches(ask(revision=NEW, variables={"HF_HUB_OFFLINE": "1"}), NEW, commits)
    assert server[0].requests == []


@pytest.mark.parametrize("variables", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_offline_without_a_cache(ask, server, variables):
    answer = ask(offline=not variables, variables=variables)
    assert answer["error"] == "SourceError"
    assert "local cache, and offline mode was asked for" in answer["message"]
    assert f"hf download {NAME}" in answer["message"]
    assert server[0].requests == []


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        ((403, "GatedRepo"), "is gated: accept its terms"),
        ((401, "RepoNotFound"), "neither a local folder nor a model on the hub"),
        ((404, "RepoNotFound"), "neither a local folder nor a model on the hub"),
        ((404, "RevisionNotFound"), "no such branch, tag or commit"),
    ],
)
def test_what_the_hub_refuses(ask, server, refuse, message):
    server[0].refuse = refuse
    answer = ask(revision="v2")
    assert answer["error"] == "SourceError"
    assert message in answer["message"]
    assert f"{NAME} at revision 'v2'" in answer["message"]


def test_no_network(ask):
    # Port 9 of this machine: nobody listens.
    answer = ask(variables={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert answer["error"] == "SourceError"
    assert "cannot be fetched from the hub" in answer["message"]
    assert "offline=True" in answer["message"]


def test_the_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"embedge\[export\]"):
        hub.download(NAME)


@pytest.mark.parametrize("sha", [None, "main", "abc123", "A" * 40])
def test_a_revision_that_is_no_commit_is_not_pinned(monkeypatch, sha):
    import huggingface_hub

    class Info:
        pass

    Info.sha = sha
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: Info)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(SourceError, match="not 40 hexadecimal digits"):
        hub.download(NAME)


# Opens, and does with a source all that reads it; prints which of its files were opened.
READ = """
import json, sys
from pathlib import Path
from typing import Any
root = Path(sys.argv[1]).resolve()
opened = set()
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(str(root)):
        opened.add(arguments[0])
sys.addaudithook(watch)
from embedge_export.model import open_model, reference
from embedge_export.merged import write_merged
from embedge_export import open_source
from embedge.errors import SourceError
found = {}
for number, kind in enumerate(json.loads(sys.argv[2])):
    opened.clear()
    if sys.argv[3] == "local":
        source = open_source(root / kind)
    else:
        source = open_source("seeded/v5", revision=f"{number:040x}")
    model = open_model(source)
    for task in source.tasks:
        model.weights(task).read(sorted(model.base.keys())[0])
    try:
        write_merged(source, Path(sys.argv[4]) / f"{kind} {sys.argv[3]}", tasks=source.tasks[:1])
    except SourceError:  # no plain form of an encoder
        pass
    found[kind] = {
        "id": source.model_id,
        "hashed": dict(source.files),
        "opened": [Path(p).relative_to(source.folder.absolute()).as_posix() for p in opened
                   if Path(p).is_file() and Path(p).is_relative_to(source.folder.absolute())],
        "there": [p.relative_to(source.folder).as_posix()
                  for p in source.folder.rglob("*") if p.is_file()],
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Every kind of model, read from its folder and through a hub: (local, fetched)."""
    root = tmp_path_factory.mktemp("kinds")
    folders = [write_kind(kind, root / "local" / kind) for kind in KINDS]
    state = Hub({f"{number:040x}": folder for number, folder in enumerate(folders)})
    results = []
    with serving(state) as (_, address):
        for way, place in (("local", root / "local"), ("hub", root / "home")):
            environment = {k: v for k, v in os.environ.items() if not k.upper().endswith("_PROXY")}
            environment |= {
                "HF_ENDPOINT": address,
                "HF_HOME": str(root / "home"),
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "PYTHONPATH": os.pathsep.join(sys.path),
            }
            done = subprocess.run(
                [sys.executable, "-c", READ, place, json.dumps(KINDS), way, root / "out"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            results.append(json.loads(done.stdout.splitlines()[-1]))
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_a_hub_gives_what_a_folder_does(kinds, kind):
    local, fetched = (result[kind] for result in kinds)
    assert fetched["hashed"] == local["hashed"]
    assert "modeling_own.py" not in fetched["there"]
    unread = set(fetched["there"]) - set(fetched["hashed"]) - set(source_files.COPIED)
    assert unread == set()  # nothing is fetched in vain


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [0, 1], ids=["folder", "hub"])
def test_what_is_read_is_in_the_provenance(kinds, kind, way):
    found = kinds[way][kind]
    without = ("static", "static apart")  # Sentence Transformers writes no config.json for them
    assert "config.json" in found["opened"] or kind in without
    assert any(name.endswith(".safetensors") for name in found["opened"])
    assert set(found["opened"]) <= {*found["hashed"], *source_files.COPIED}


def test_a_damaged_index_of_weights_on_the_hub_is_named(ask, server, tmp_path):
    folder = write_kind("odd shards", tmp_path / "odd")
    (folder / "model.safetensors.index.json").write_text("{")
    server[0].commits = {OLD: folder}
    answer = ask()
    assert answer["error"] == "SourceError"
    assert "model.safetensors.index.json is no" in answer["message"]


def test_a_failure_without_a_text_still_has_a_reason():
    """A timeout of the hub's library says nothing of itself."""
    message = hub._explain(TimeoutError(), NAME, None, offline=False)
    assert "cannot be fetched from the hub: TimeoutError." in message

"""`embedge serve`: the embeddings APIs that existing clients speak, on this machine.

Turns the command line into `Settings` and opened packs, and hands them to `embedge.server`, which
is imported here only, when the command runs: it needs the extra `server`.
"""

import argparse
import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.cli import arguments, screen
from embedge.errors import MissingExtraError, OptionError

if TYPE_CHECKING:
    from embedge.embedder import Embedder
    from embedge.server.settings import Settings

SUMMARY = "serve packs over HTTP, as Jina's and OpenAI's embeddings API"
DESCRIPTION = """\
Serves packs over HTTP, by the bundled one if none is named: POST /v1/embeddings as Jina's API and
OpenAI's have it, and more (GET /docs lists all paths). Listens on this machine only, unless --host
says otherwise. Writes one line of JSON on stdout once it listens; /ready is 200 once all tasks are
loaded. Needs the extra: pip install "embedge[cpu,server]"."""
EXAMPLES = (
    "embedge serve",
    "embedge serve small=packs/v5-small --port 9000",
    "embedge serve --host 0.0.0.0 --api-key-file keys.txt",
)

KEY_VARIABLE = "EMBEDGE_API_KEY"
EXTRA = {"httptools", "msgspec", "orjson", "prometheus_client", "starlette", "uvicorn", "uvloop"}
MAX_KEY_FILE = 2**20  # bytes
# Limits that have an option each: its name in `Settings`, and what it says.
LIMITS = {
    "body_bytes": "most bytes of one request's body",
    "bytes_under_way": "most bytes of all requests under way, bodies and answers",
    "items": "most texts and images of one request",
    "image_bytes": "most bytes of one image",
    "image_pixels": "most pixels of one image",
    "queue_tokens": "most tokens that wait, for each pack; more are answered 429",
    "queue_seconds": "longest wait, as estimated, that a request is accepted for",
    "connections": "most connections",
    "header_seconds": "seconds for a request's head",
    "body_seconds": "seconds for a request's body",
    "write_seconds": "seconds that a reader may take nothing of its answer",
    "keep_alive_seconds": "seconds that an idle connection is kept",
    "drain_seconds": "at the end, seconds that /ready says 503 before the socket closes",
    "grace_seconds": "at the end, seconds for requests under way",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "packs",
        nargs="*",
        metavar="PACK",
        help="folders of packs, each served by its folder's name, or as NAME=FOLDER "
        f"(default: {arguments.PACK_VARIABLE}, else the pack that embedge bundles)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=_whole, default=8080, metavar="N", help="0: any free one (default: 8080)"
    )
    parser.add_argument("--uds", type=Path, metavar="PATH", help="a Unix socket in their place")
    keys = parser.add_argument_group(
        "who may come in", f"the environment variable {KEY_VARIABLE} can hold one key"
    )
    keys.add_argument("--api-key-file", type=Path, metavar="FILE", help="API keys, one a line")
    keys.add_argument(
        "--generate-key",
        action="store_true",
        help='make a key, and write it in the line on stdout as "token"',
    )
    keys.add_argument(
        "--insecure-no-key",
        action="store_true",
        help="listen on an address that others can reach without asking for a key",
    )
    keys.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let web pages of this origin ask (may be repeated; * for all)",
    )
    what = parser.add_argument_group("what it takes")
    what.add_argument(
        "--allow-urls",
        action="store_true",
        help="fetch images by https from public addresses",
    )
    what.add_argument(
        "--accept-token-ids",
        action="store_true",
        help="take lists of the model's own token ids as input",
    )
    limits = parser.add_argument_group("limits")
    for name, text in LIMITS.items():
        limits.add_argument(f"--{name.replace('_', '-')}", type=_whole, metavar="N", help=text)
    parser.add_argument("--json-logs", action="store_true", help="log as JSON, a line an event")
    arguments.add_engine_options(parser)


def run(options: argparse.Namespace) -> int:
    """Serves until a signal."""
    with _extra():
        from embedge.server.run import serve
    settings = _settings(options)
    return serve(_open(options), settings)


def _settings(options: argparse.Namespace) -> "Settings":
    """The command line as settings."""
    from embedge.server.settings import Settings

    limits = {name: getattr(options, name) for name in LIMITS}
    keys = _keys(options)
    if options.generate_key:
        keys = (secrets.token_urlsafe(32), *keys)
    settings = Settings(
        host=options.host,
        port=options.port,
        uds=None if options.uds is None else options.uds.absolute(),
        keys=keys,
        announce_key=options.generate_key,
        insecure_no_key=options.insecure_no_key,
        cors_origins=tuple(options.cors_origin),
        allow_urls=options.allow_urls,
        accept_token_ids=options.accept_token_ids,
        json_logs=options.json_logs,
        **{name: value for name, value in limits.items() if value is not None},
    )
    assert {field.name for field in fields(settings)} >= set(LIMITS)
    return settings


def _keys(options: argparse.Namespace) -> tuple[str, ...]:
    """API keys of the file and the environment; never of the command line, which all can see."""
    keys = []
    if options.api_key_file is not None:
        try:
            with options.api_key_file.open(encoding="utf-8") as stream:
                text = stream.read(MAX_KEY_FILE + 1)
        except UnicodeDecodeError:
            raise OptionError(f"{options.api_key_file} is no text file") from None
        if len(text) > MAX_KEY_FILE:
            raise OptionError(f"{options.api_key_file} is too large for a file of keys")
        lines = (line.strip() for line in text.splitlines())
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise OptionError(f"{options.api_key_file} holds no key; write one a line")
    if given := os.environ.get(KEY_VARIABLE):
        keys.append(given.strip())
    return tuple(keys)


def _open(options: argparse.Namespace) -> "dict[str, Embedder]":
    """The packs by name, opened."""
    from embedge.embedder import Embedder

    default = os.environ.get(arguments.PACK_VARIABLE)
    named = options.packs or ([default] if default else [])
    opened: dict[str, Embedder] = {}
    with contextlib.ExitStack() as stack:
        for text in named or [None]:
            name, path = _split(text)
            embedder = stack.enter_context(
                Embedder(
                    path,
                    **arguments.engine_options(options),
                    spin=False,  # the event loop, and often the clients, want the cores too
                )
            )
            name = name or embedder.manifest.model_id.rpartition("/")[2]
            if name in opened:
                raise OptionError(f"two packs would be called {name!r}: pass NAME=FOLDER for one")
            opened[name] = embedder
            chosen = ", ".join(f"{key} {one.value}" for key, one in embedder.choices.items())
            screen.note(f"embedge: {name}: {embedder.folder} ({chosen})")
        stack.pop_all()  # the server closes them
    return opened


def _split(text: str | None) -> tuple[str | None, str | None]:
    """The name and the folder of a pack; no name for the bundled one, which has its model's."""
    if text is None:
        return None, None
    name, sign, folder = text.partition("=")
    if sign and name and not Path(text).exists():
        return name, folder
    return Path(text).absolute().name, text


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    """Says what to install where the extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in EXTRA:
            raise
        raise MissingExtraError(
            f"`embedge serve` needs {missing}, which is not installed; "
            'pip install "embedge[cpu,server]"'
        ) from None


def _whole(text: str) -> int:
    return int(text)


_whole.__name__ = "whole number"  # argparse: "invalid whole number value: 'x'"

"""Model folders from the Hugging Face hub, all of one commit.

Takes `owner/name` and a branch, tag or commit. Gives a folder in the hub's own cache and the full
commit. The name is resolved to a commit first and everything is then fetched from that commit, so
that weights, adapters and tokenizer always belong together. Only data files are fetched: no Python
code, no pickle, no ready-made graphs; which ones, `files.py` says. It knows nothing of what
the files mean.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from embedge.errors import MissingExtraError, SourceError
from embedge.reasons import reason_of
from embedge_export.source import files as source_files

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)

_UNWANTED = ["onnx/*", "openvino/*", "*.py", "*.onnx", "*.gguf", "*.bin", "*.pt", ".*", "*/.*"]


def download(
    repository: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    endpoint: str | None = None,
    cache: Path | None = None,
    check: Callable[[Path], None] = lambda folder: None,
) -> tuple[Path, str]:
    """Fetches a repository; with `offline` only looks it up in the cache.

    `endpoint` and `cache` are the hub's own defaults (HF_ENDPOINT, HF_HOME) unless given. `check`
    is called with the folder once its config.json is there, and may refuse the model before the
    rest is fetched.

    Returns:
        The folder, and the full commit it is of.

    Raises:
        SourceError: it cannot be had; the message says what to do.
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError as error:
        raise MissingExtraError(
            f"{repository!r} is on the hub, and huggingface_hub is not installed "
            "(pip install 'embedge[export]'); a local folder needs no download"
        ) from error

    offline = offline or constants.HF_HUB_OFFLINE

    def fetch(wanted: str | None, patterns: Sequence[str] = source_files.FIRST) -> Path:
        folder = huggingface_hub.snapshot_download(
            repository,
            revision=wanted,
            local_files_only=offline,
            allow_patterns=list(patterns),
            ignore_patterns=_UNWANTED,
            cache_dir=cache,
            endpoint=endpoint,
        )
        return Path(folder)  # the cache names it by its commit

    try:
        if offline:
            folder = fetch(revision)
            return folder, folder.name
        api = huggingface_hub.HfApi(endpoint=endpoint)
        commit = _full_commit(api.model_info(repository, revision=revision).sha)
        check(fetch(commit, (source_files.CONFIG,)))
        # By the branch's name, so that the cache knows it offline too. The library takes all files
        # of one commit; it may be another if the branch moves now, or an older one from the cache
        # if the network fails now.
        folder = fetch(revision)
        if folder.name != commit:
            folder = fetch(commit)
        if named := source_files.then(folder):
            folder = fetch(commit, named)
    except SourceError:  # of `check`, or of an index of weights that is damaged, by its name
        raise
    # Whatever the library or its HTTP client raises (their classes changed twice within its major
    # versions), it is about this repository, and the user needs to know what to do.
    except Exception as error:
        raise SourceError(_explain(error, repository, revision, offline=offline)) from error
    return folder, commit


def _full_commit(sha: str | None) -> str:
    if sha is None or re.fullmatch(r"[0-9a-f]{40}", sha) is None:
        raise ValueError(f"it names the commit {sha!r}, not 40 hexadecimal digits")
    return sha


def _explain(error: Exception, repository: str, revision: str | None, *, offline: bool) -> str:
    from huggingface_hub import errors

    where = repository if revision is None else f"{repository} at revision {revision!r}"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{where} is gated: accept its terms on its hub page, log in with `hf auth login` or "
            "set HF_TOKEN, and try again"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{where}: the hub has no such branch, tag or commit; see the model's page"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{where} is neither a local folder nor a model on the hub that you may read. Check "
            "the spelling; if it is private, log in with `hf auth login` or set HF_TOKEN"
        )
    if offline:
        return (
            f"{where} is not (or not wholly) in the local cache, and offline mode was asked for. "
            f"Fetch it once with a network (`hf download {repository}`), or pass a local folder"
        )
    return (
        f"{where} cannot be fetched from the hub: {reason_of(error)}. Check the network; a copy in "
        "the local cache is used with offline=True (or HF_HUB_OFFLINE=1), and a local folder needs "
        "no network"
    )

"""`embedge verify`: whether a pack is whole and computes what it should, on this machine.

Hashes every file, runs every graph that can run here against the sample vectors of the NumPy
reference, and on request goes back to the source or to published figures. Each check gives one
line; a failure says what to do.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from embedge.cli import arguments, screen
from embedge.cli.apart import CrashedError, can_run_apart, run_apart
from embedge.cli.exporter import load_exporter
from embedge.cli.golden import DOCUMENTS, QUERY, TOKEN_TEXTS, TOLERANCE, find_golden
from embedge.cli.reports import loss_rows
from embedge.errors import (
    DeviceError,
    EmbedgeError,
    OptionError,
    PackError,
)
from embedge.machine import resources as machine
from embedge.pack.manifest import PRECISIONS, Manifest
from embedge.pack.verification import IMAGE_TOWER, Report
from embedge.progress import ProgressBar
from embedge.reasons import one_line
from embedge.sizes import size_text

if TYPE_CHECKING:
    from embedge.embedder import Embedder
    from embedge.pack.files import Pack
    from embedge.selftest import Comparison

SUMMARY = "check that a model pack is whole and right"
DESCRIPTION = """\
Checks a pack: hashes every file again, loads every graph that can run here, compares its vectors
with the reference samples in the pack, and tests that a text's vector stays the same in a batch.
Prints a line for each check, and which linears lost the most in the export. The exit code is 1 if a
check failed."""
EXAMPLES = (
    "embedge verify",
    "embedge verify packs/v5-small --precision int8",
    "embedge verify packs/v5-small --json",
)

IN_PROCESS = "--in-process"
AGAIN = "export the pack again, or fetch it again from where it came"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result."""

    name: str
    verdict: str  # "OK", "FAIL", or "skip" where it cannot be checked here
    detail: str  # of a failure: what to do


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    arguments.add_pack_argument(parser)
    arguments.add_engine_options(parser)
    parser.add_argument(
        "--source",
        metavar="SRC",
        help="also compare with the NumPy reference of this model (slow; needs the extra export)",
    )
    arguments.add_adapter_options(parser)
    parser.add_argument(
        "--golden",
        action="store_true",
        help="also compare with the figures that the model's card publishes",
    )
    parser.add_argument(
        IN_PROCESS,
        action="store_true",
        help="check in this process, not in a separate one that a bad pack may crash",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments.add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Prints a line for each check; 1 if one failed."""
    if options.source is None and arguments.adapter_options(options):
        raise OptionError("--adapter and --base are about a pack's source; give --source too")
    if options.command_line is not None and not options.in_process:
        if can_run_apart():
            return _run_apart(options.command_line, as_json=options.json)
        screen.note("embedge: checking in this program itself, which a bad pack may crash")
    from embedge.pack.files import open_pack

    pack = open_pack(arguments.pack_path(options))
    golden = find_golden(pack.manifest.model_id) if options.golden else None
    if options.golden and golden is None:
        raise OptionError(
            f"--golden: no published figures of {pack.manifest.model_id!r} are known; leave it out"
        )
    done: list[Check] = []
    for check in checks(pack, options):
        done.append(check)
        if not options.json:
            line = f"{check.verdict:4}  {check.name:28}  {check.detail}".rstrip()
            screen.show(line, mark=check.verdict)
    failed, count = sum(check.verdict == "FAIL" for check in done), len(done)
    if options.json:
        screen.show_json(_report(done, pack=str(pack.folder)), indent=2)
        return 1 if failed else 0
    screen.show()
    shown = pack.manifest.precisions() if options.precision == "auto" else (options.precision,)
    reports = pack.manifest.verification
    rows = loss_rows({p: reports[p] for p in shown if p in reports})
    if rows:
        screen.show("linears that rounding changes most, as the export measured on sample rows:")
        screen.show_lines(screen.table(rows))
        screen.show()
    if failed:
        screen.show(f"{failed} of {count} checks FAILED: do not use this pack as it is")
        return 1
    screen.show(f"{count} checks, none failed")
    return 0


def _report(done: Sequence[Check], **more: str) -> dict[str, Any]:
    """The checks for programs."""
    failed = sum(check.verdict == "FAIL" for check in done)
    return {**more, "checks": [asdict(check) for check in done], "failed": failed}


def _run_apart(arguments: list[str], *, as_json: bool) -> int:
    place = arguments.index("verify") + 1  # only --debug may come before it
    try:
        return run_apart([*arguments[:place], IN_PROCESS, *arguments[place:]])
    except CrashedError as error:
        detail = (
            f"{error} in the process that loaded the pack: do not use this pack. If a pack that "
            "you trust does the same, install onnxruntime and tokenizers again"
        )
        if as_json:
            screen.show_json(_report([Check("process", "FAIL", detail)]), indent=2)
        else:
            screen.show(f"FAIL  {'process':28}  {detail}", mark="FAIL")
        return 1


def checks(pack: "Pack", options: argparse.Namespace) -> Iterator[Check]:
    """Every check, as it is done; a broken file ends them, for nothing more can be trusted."""
    from embedge.pack.files import verify_files

    manifest = pack.manifest
    problems = verify_files(pack)
    for problem in problems:
        yield Check("files", "FAIL", problem)
    if problems:
        return
    total = sum(entry.size for entry in manifest.files.values())
    yield Check("files", "OK", f"{len(manifest.files)} files, {size_text(total)}, hashed")
    if options.golden:
        yield _token_check(pack)
    held = [p for p in PRECISIONS if any(graph.precision == p for graph in manifest.graphs)]
    for precision in held if options.precision == "auto" else [options.precision]:
        yield _gate_check(manifest, precision)
        try:
            with arguments.open_embedder(options, precision=precision) as embedder:
                yield from _precision_checks(manifest, embedder, precision, golden=options.golden)
        except DeviceError as error:
            yield Check(precision, "skip", f"cannot run here: {one_line(error)}")
        except (PackError, OptionError) as error:
            yield Check(precision, "FAIL", one_line(error))
        except EmbedgeError as error:
            yield Check(precision, "FAIL", f"{one_line(error)}; {AGAIN}")
    if options.source is not None:
        yield from _source_checks(pack, options.source, options)


def _gate_check(manifest: Manifest, precision: str) -> Check:
    if manifest.passed_gate(precision):
        return Check(f"{precision} gate", "OK", "passed when it was exported")
    detail = "did not pass when it was exported; export it again, or take another precision"
    return Check(f"{precision} gate", "FAIL", detail)


def _precision_checks(
    manifest: Manifest, embedder: "Embedder", precision: str, *, golden: bool
) -> Iterator[Check]:
    """Loads every graph of a precision and compares its vectors."""
    from embedge.selftest import compare

    for task in manifest.tasks:
        embedder.load(task)
    name = f"{precision} on {embedder.device}"
    yield Check(name, "OK", f"{len(manifest.tasks)} graphs load, {embedder.threads} threads")
    for comparison in compare(embedder):
        yield _comparison_check(comparison, precision)
    if golden:
        yield _golden_check(manifest, embedder, precision)


def _comparison_check(comparison: "Comparison", precision: str) -> Check:
    from embedge.selftest import BATCHES, IMAGES

    name, value, bar = f"{precision} {comparison.name}", comparison.value, comparison.bar
    if value is None:
        return Check(name, "skip", comparison.skipped)
    if comparison.name == BATCHES:
        detail = f"a text in a batch differs by {value:.1e} from it alone"
        missed = f", more than {bar:.0e}: try another precision or onnxruntime version"
    else:
        detail = f"least cosine to the reference {value:.6f}"
        missed = f", under {bar:.6f}: `embedge doctor` says what this machine runs; try another "
        missed += (
            f"precision; {AGAIN}" if comparison.name == IMAGES else "precision, or export again"
        )
    return Check(name, "OK", detail) if comparison.passed else Check(name, "FAIL", detail + missed)


def _token_check(pack: "Pack") -> Check:
    """The token ids of two sentences, as published."""
    from embedge.texts.tokens import TextTokenizer

    golden = find_golden(pack.manifest.model_id)
    assert golden is not None  # run() refuses --golden without figures
    if pack.manifest.text is None:
        return Check("golden tokens", "skip", "the pack has no text tower")
    text_input = pack.manifest.text
    tokenizer = TextTokenizer(pack.file(text_input.tokenizer))
    encoded = tokenizer.encode(TOKEN_TEXTS, prompt="", max_length=text_input.max_length)
    for text, ids, expected in zip(TOKEN_TEXTS, encoded.ids, golden.token_ids, strict=True):
        got = " ".join(str(token) for token in ids)
        if got != expected:
            detail = f"{text!r} gives {got}, published is {expected}: not this model's tokenizer"
            return Check("golden tokens", "FAIL", f"{detail}; export from the real model")
    return Check("golden tokens", "OK", "token ids as published")


def _golden_check(manifest: Manifest, embedder: "Embedder", precision: str) -> Check:
    """The similarities of the model card."""
    name = f"{precision} golden"
    golden = find_golden(manifest.model_id)
    assert golden is not None  # run() refuses --golden without figures
    if "retrieval" not in manifest.tasks:
        return Check(name, "skip", "the published figures are of the task retrieval")
    query = embedder.encode_query(QUERY, task="retrieval")  # (D,)
    documents = embedder.encode_document(list(DOCUMENTS), task="retrieval")  # (4, D)
    got = [float(value) for value in documents @ query]  # (4, D) @ (D,) -> (4,)
    similarities = " ".join(f"{value:.4f}" for value in got)
    worst = max(abs(a - b) for a, b in zip(got, golden.similarities, strict=True))
    if worst <= TOLERANCE[precision]:
        return Check(name, "OK", f"{similarities}, at most {worst:.4f} from the card")
    published = " ".join(f"{value:.4f}" for value in golden.similarities)
    detail = f"{similarities}, the card says {published}: export from the real weights"
    return Check(name, "FAIL", detail)


def _source_checks(pack: "Pack", spec: str, options: argparse.Namespace) -> Iterator[Check]:
    """The whole pack against the NumPy reference of its source."""
    manifest = pack.manifest
    source = load_exporter("open_pack_source")(manifest, spec, **arguments.adapter_options(options))
    if dict(source.files) != manifest.source.get("files"):
        detail = f"{spec} is not what the pack was made from; name its source, or {AGAIN}"
        yield Check("source", "FAIL", detail)
        return
    yield Check("source", "OK", "what the pack was made from")
    with ProgressBar(options.progress) as progress:
        reports: dict[str, Report] = load_exporter("verify_pack")(
            pack.folder,
            source,
            threads=machine.threads_here(options.threads, background=options.background).value,
            advance=lambda label: progress.update(None, label),
        )
    for precision, report in reports.items():
        judged = dict(report.tasks)
        if report.image is not None:
            judged[IMAGE_TOWER] = report.image
        for task, figures in judged.items():
            missed = "; ".join(report.failures.get(task, ()))
            detail = f"cosine to the reference {figures.cosine_min:.6f} at least"
            if missed:
                detail = f"{missed}: {AGAIN}"
            yield Check(f"{precision} {task} by source", "FAIL" if missed else "OK", detail)

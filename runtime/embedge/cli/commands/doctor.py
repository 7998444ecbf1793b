"""`embedge doctor`: what this machine and installation are, what was chosen, and why.

Collects findings, each with a value, a reason where something was chosen, and a problem with its
remedy where something is wrong. Needs nothing installed but embedge itself: what is missing is a
finding too.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import embedge
from embedge.cli import arguments, screen
from embedge.cli.flags import in_flags
from embedge.cli.reports import languages_text
from embedge.engine import telemetry
from embedge.errors import EmbedgeError
from embedge.machine import resources as machine
from embedge.machine.gpu_memory import read_gpu_memory
from embedge.reasons import one_line
from embedge.sizes import size_text

SUMMARY = "report what runs here, what was chosen, and why"
DESCRIPTION = """\
Reports what is installed, what would run here and why: device, threads, memory, integer kernel.
With a pack, by default the bundled one, also which precision is chosen, and whether its vectors are
right on this machine. The exit code is 1 if there is a problem; each says what to do."""
EXAMPLES = (
    "embedge doctor",
    "embedge doctor packs/v5-small --threads 2",
    "embedge doctor --json",
)

OLDEST_RUNTIME = (1, 23)
FIRST_WITH_REPORTS = (1, 29)  # on Linux and macOS; on Windows all have them
EXPORT_PACKAGES = ("filelock", "huggingface-hub", "ml-dtypes", "onnx", "onnx-ir", "safetensors")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    value: str
    reason: str = ""
    problem: str | None = None  # what is wrong, and what to do


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    arguments.add_pack_argument(parser)
    arguments.add_engine_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Prints the findings; 1 if one of them is a problem."""
    findings = [*_system(), *_packages()]
    runtime = list(_runtime())
    findings += runtime
    if not any(finding.problem for finding in runtime):
        missing = _missing_default() if arguments.pack_path(options) is None else None
        findings += _without_pack(options, missing) if missing else _with_pack(options)
    problems = [finding for finding in findings if finding.problem]
    if options.json:
        report = {
            "findings": [asdict(finding) for finding in findings],
            "problems": len(problems),
        }
        screen.show_json(report, indent=2)
        return 1 if problems else 0
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        reason = f"  ({finding.reason})" if finding.reason else ""
        screen.show(f"{finding.name:{width}}  {finding.value}{reason}".rstrip())
    screen.show()
    for finding in problems:
        screen.show(f"PROBLEM  {finding.name}: {finding.problem}")
    if not problems:
        screen.show("no problem found")
    return 1 if problems else 0


def _system() -> Iterator[Finding]:
    yield Finding("embedge", embedge.__version__)
    yield Finding("python", f"{platform.python_implementation()} {platform.python_version()}")
    yield Finding("platform", platform.platform())
    yield Finding("cpu", f"{machine.cpu_name()}, {machine.host_cores()} cores")
    if gpu := read_gpu_memory():
        yield Finding("gpu memory", f"{size_text(gpu.free)} free of {size_text(gpu.total)}")


def _packages() -> Iterator[Finding]:
    for name in ("numpy", "tokenizers"):
        version = version_of(name)
        missing = None if version else f"it is not installed; pip install {name}"
        yield Finding(name, version or "not installed", problem=missing)
    pillow = version_of("pillow")
    if pillow is None:
        reason = 'only for packs that take images: pip install "embedge[image]"'
        yield Finding("image extra", "lacks pillow", reason)
    else:
        yield Finding("image extra", f"pillow {pillow}")
    versions = {name: version_of(name) for name in EXPORT_PACKAGES}
    lacking = [name for name, version in versions.items() if version is None]
    if lacking:
        reason = 'only for making packs: pip install "embedge[export]"'
        yield Finding("export extra", f"lacks {', '.join(lacking)}", reason)
    else:
        yield Finding("export extra", ", ".join(f"{k} {v}" for k, v in versions.items()))


def version_of(distribution: str) -> str | None:
    """The installed version of a distribution; None if there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _runtime() -> Iterator[Finding]:
    """ONNX Runtime: which distributions fill the module, and which file is really imported."""
    from embedge.engine.loading import installed_distributions, load_runtime

    installed = installed_distributions()
    versions = ", ".join(f"{name} {version_of(name)}" for name in installed) or "not installed"
    problem = None
    if len(installed) > 1:
        problem = (
            f"{' and '.join(installed)} are both installed and fill the same module, the last one "
            f"wins; pip uninstall -y {' '.join(installed)}, then install one again: "
            'pip install "embedge[cpu]" or "embedge[gpu]"'
        )
    try:
        module = load_runtime()
    except EmbedgeError as error:
        yield Finding("onnxruntime", versions, problem=problem or one_line(error))
        return
    version = str(module.__version__)
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if problem is None and numbers < OLDEST_RUNTIME:
        oldest = ".".join(str(number) for number in OLDEST_RUNTIME)
        problem = f"{version} is older than {oldest}; pip install --upgrade {installed[0]}"
    elif problem is None and installed and version_of(installed[0]) != version:
        problem = (
            f"the module says {version}, the installed package {version_of(installed[0])}: another "
            f"copy is in the way; look at the file below, then reinstall {installed[0]}"
        )
    yield Finding("onnxruntime", versions, problem=problem)
    yield Finding("onnxruntime file", str(getattr(module, "__file__", "unknown")))
    yield Finding("providers", ", ".join(module.get_available_providers()))
    yield _usage_reports(numbers)


def _usage_reports(version: tuple[int, ...]) -> Finding:
    """Whether ONNX Runtime reports to its maker how it is used."""
    variable, name = telemetry.VARIABLE, "usage reports"
    if not telemetry.was_imported_by_host():
        return Finding(name, "off", f"ONNX Runtime was imported with {variable}=1")
    if os.environ.get(variable) == "1":
        return Finding(name, "off", f"{variable}=1 is set")
    if version < FIRST_WITH_REPORTS and sys.platform != "win32":
        return Finding(name, "off", "this version of ONNX Runtime has none here")
    return Finding(
        name,
        "not known",
        "this program imported ONNX Runtime before embedge did",
        problem=f"ONNX Runtime may have been imported with its usage reports on: set {variable}=1 "
        "in the environment before the program starts, or before it imports onnxruntime",
    )


def _kernel() -> Finding:
    from embedge.engine.kernels import INEXACT, integer_kernel

    kernel = integer_kernel()
    problem = None
    if kernel.value == INEXACT:
        problem = f"{kernel.reason}: give --precision fp32, or update onnxruntime"
    return Finding("integer kernel", kernel.value, kernel.reason, problem)


def _missing_default() -> str | None:
    """Why there is no bundled pack; None if there is one."""
    from embedge.pack.files import default_folder

    try:
        default_folder()
    except EmbedgeError as error:
        return one_line(error)
    return None


def _without_pack(options: argparse.Namespace, missing: str) -> Iterator[Finding]:
    """What would be chosen for a pack that holds everything."""
    from embedge.engine.devices import choose_device
    from embedge.pack.manifest import PRECISIONS

    try:
        device = choose_device(options.device, precision=options.precision, held=PRECISIONS)
    except EmbedgeError as error:
        yield Finding("device", options.device, problem=one_line(error))
    else:
        yield Finding("device", device.value, device.reason)
    try:
        threads = machine.threads_here(options.threads, background=options.background)
    except EmbedgeError as error:
        yield Finding("threads", "?", problem=one_line(error))
    else:
        reason = in_flags(threads.reason, options.flags)
        yield Finding("threads", str(threads.value), reason)
    memory = machine.choose_memory_limit(
        options.memory_limit, environment=os.environ, available=machine.read_available_memory()
    )
    reason = in_flags(memory.reason, options.flags)
    yield Finding("memory limit", _value("memory_limit", memory.value), reason)
    yield _kernel()
    yield Finding("pack", "none", missing)


def _with_pack(options: argparse.Namespace) -> Iterator[Finding]:
    """What was chosen for this pack, and whether its vectors are right here."""
    path = arguments.pack_path(options)
    try:
        with arguments.open_embedder(options) as embedder:
            model = embedder.manifest.model_id
            origin = f"{model}, bundled with embedge" if path is None else model
            yield Finding("pack", str(embedder.folder), origin)
            yield Finding("languages", languages_text(embedder.manifest), "of the pack's model")
            for name, choice in embedder.choices.items():
                reason = in_flags(choice.reason, options.flags)
                yield Finding(name.replace("_", " "), _value(name, choice.value), reason)
            yield _kernel()
            yield from _vectors(embedder)
    except EmbedgeError as error:
        yield Finding("pack", path or "the bundled one", problem=one_line(error))


def _vectors(embedder: "embedge.Embedder") -> Iterator[Finding]:
    from embedge.selftest import compare_tasks

    for comparison in compare_tasks(embedder):
        value, problem = comparison.value, None
        if value is None:
            yield Finding("vectors", "not checked", comparison.skipped)
            continue
        if not comparison.passed:
            problem = (
                f"cosine {value:.6f} to the reference, under {comparison.bar:.6f}: do not use "
                f"{embedder.precision} here; try another --precision, and see `embedge verify`"
            )
        name = f"vectors, {comparison.name}"
        yield Finding(name, f"{value:.6f}", "least cosine to the reference", problem)


def _value(name: str, value: Any) -> str:
    """A chosen value for people; memory is in bytes."""
    if value is None:
        return "none"
    return size_text(value) if name == "memory_limit" else str(value)

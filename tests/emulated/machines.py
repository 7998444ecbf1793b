"""Other CPUs, emulated by QEMU's user mode, with a Python and ONNX Runtime of their own kind.

Gives a `Machine`: what to put before a script to run it there. x86 without VNNI runs this very
environment; arm64 gets Debian's Python and PyPI's wheels in a folder, without touching the system.
Knows nothing of embedge.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

WHEELS = ("numpy", "onnxruntime", "tokenizers")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
# What an arm64 kernel says of two CPUs. ONNX Runtime reads the part number and the features, and
# would otherwise read this machine's. The older one has neither dot products nor half precision.
ARM_CPUS = {
    "cortex-a53": ("0xd03", "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"),
    "neoverse-n1": (
        "0xd0c",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp",
    ),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """A CPU, and how a Python script is run on it."""

    name: str
    command: tuple[str, ...] = (sys.executable,)
    packages: tuple[Path, ...] = ()  # folders with what Python is to import
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, script: Path, *arguments: str, path: tuple[Path, ...]) -> str:
        """Runs a script to its end; its output. RuntimeError with its last words if it fails."""
        places = os.pathsep.join(str(place) for place in (*path, *self.packages))
        environment = dict(os.environ) | {"PYTHONPATH": places} | self.environment
        done = subprocess.run(
            [*self.command, str(script), *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: exit code {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout


def lacking(target: str) -> str | None:
    """Why QEMU cannot emulate a target ("x86_64", "aarch64") here; None if it can."""
    if sys.platform != "linux":
        return "QEMU's user mode runs on Linux only"
    if shutil.which(f"qemu-{target}") is None:
        return f"qemu-{target} is not installed; on Debian: apt-get install qemu-user"
    if target == "aarch64" and shutil.which("dpkg-deb") is None:
        return "arm64's Python comes from Debian's packages, and this is no Debian"
    return None


def x86(cpu: str) -> Machine:
    """This environment's Python on another x86 CPU, such as Haswell: AVX2 and no VNNI."""
    return Machine(f"x86-64 {cpu}", ("qemu-x86_64", "-cpu", cpu, sys.executable))


def arm64(folder: Path, cpu: str) -> Machine:
    """An arm64 CPU; `folder` keeps what is downloaded (some 120 MB)."""
    root, site = folder / "root", folder / "site"
    stamp, wheels = folder / "complete", [f"{name}=={metadata.version(name)}" for name in WHEELS]
    if not stamp.exists() or stamp.read_text() != "\n".join(wheels):
        shutil.rmtree(folder, ignore_errors=True)
        _unpack_debian(folder, root)
        _install_wheels(root, site, wheels)
        stamp.write_text("\n".join(wheels))
    here = folder / cpu  # the same files, but for what the kernel says of the CPU
    (here / "proc").mkdir(parents=True, exist_ok=True)
    for place in root.iterdir():
        if not (here / place.name).exists():
            (here / place.name).symlink_to(place)
    part, features = ARM_CPUS[cpu]
    (here / "proc" / "cpuinfo").write_text(
        f"processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
    )
    command = ("qemu-aarch64", "-cpu", cpu, "-L", str(here), str(_python(root)))
    return Machine(f"arm64 {cpu}", command, (site,), {"PYTHONHOME": str(root / "usr")})


def _unpack_debian(folder: Path, root: Path) -> None:
    """Python for arm64 with all that it needs, by way of an empty system of its own."""
    state, cache = folder / "state", folder / "cache"
    for needed in (state / "lists" / "partial", cache / "archives" / "partial", root):
        needed.mkdir(parents=True)
    (state / "status").touch()  # nothing is installed, so everything is fetched
    apt = ["apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]
    apt += ["-o", f"Dir::State={state}", "-o", f"Dir::State::status={state / 'status'}"]
    apt += ["-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1"]
    _run(*apt, "update")
    wanted = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
    _run(*apt, "install", "--yes", "--download-only", "--no-install-recommends", *wanted)
    for archive in (cache / "archives").glob("*.deb"):
        _run("dpkg-deb", "-x", str(archive), str(root))
    if not (root / "lib").exists():  # the loader's path in programs, where all is under /usr
        (root / "lib").symlink_to("usr/lib")


def _install_wheels(root: Path, site: Path, wheels: list[str]) -> None:
    """The same versions as here, but for arm64."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--target", str(site)]
    command += ["--implementation", "cp", "--python-version", _python(root).name[len("python") :]]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    _run(*command, *wheels)


def _python(root: Path) -> Path:
    return next(path for path in (root / "usr" / "bin").glob("python3.*") if "-" not in path.name)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])} … failed: {done.stderr.strip()[-1000:]}")

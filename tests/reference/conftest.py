"""What the comparisons share: a source and its pack, made once, and a table of the figures."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import seeded
from embedge_export.export import export_pack

# The real models' widths, so that every Matryoshka width is there; shallow and narrow otherwise,
# so that all of it takes seconds.
V5 = {
    "small": (
        seeded.write_v5_text_small,
        seeded.Dimensions(
            hidden=1024, layers=3, heads=8, kv_heads=4, head_dim=64, intermediate=512, rank=8
        ),
    ),
    "nano": (
        seeded.write_v5_text_nano,
        seeded.Dimensions(
            hidden=768, layers=3, heads=12, kv_heads=12, head_dim=64, intermediate=512, rank=8
        ),
    ),
}
# Words of the libraries that we compare with, about themselves: (message's start, category).
_THIRD_PARTY = ("`is_gradient_checkpointing` is deprecated:FutureWarning",)  # peft on transformers
_FIGURES = pytest.StashKey[dict[str, list[tuple[float, float]]]]()


def pytest_configure(config: pytest.Config) -> None:
    for warning in _THIRD_PARTY:
        config.addinivalue_line("filterwarnings", f"ignore:{warning}")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two libraries whose threads spin for work get in each other's way at these sizes."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session", params=list(V5))
def v5_model(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def v5_source(v5_model: str, sources: Path) -> Path:
    write, size = V5[v5_model]
    return write(sources / f"v5-{v5_model}", size=size)


@pytest.fixture(scope="session")
def v5_pack(v5_source: Path, sources: Path) -> Path:
    """All four tasks, at every precision."""
    pack = sources / f"{v5_source.name}-pack"
    export_pack(v5_source, out=pack, precisions=("fp32", "fp16", "int8"))
    return pack


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Callable[[str, float, float], None]:
    """`figures(label, cosine, difference)` keeps a comparison for the table at the end."""
    kept = request.config.stash.setdefault(_FIGURES, {})

    def keep(label: str, cosine: float, difference: float) -> None:
        kept.setdefault(label, []).append((cosine, difference))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    kept = terminalreporter.config.stash.get(_FIGURES, {})
    if not kept:
        return
    terminalreporter.section("agreement with the outside world")
    width = max(map(len, kept))
    for label, pairs in kept.items():
        cosines, differences = zip(*pairs, strict=True)
        terminalreporter.write_line(
            f"{label:<{width}}  lowest cosine {min(cosines):.9f}  "
            f"largest difference {max(differences):.1e}  ({len(pairs)} comparisons)"
        )

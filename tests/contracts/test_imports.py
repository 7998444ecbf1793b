"""Which room may import which: one table for both packages, and the walls between equals.

A room is a module or a folder directly below a package. A room may import those that stand above it
in its package's list, so that every arrow runs one way. Two rooms of the list never import each
other because of it; within a room, and between all modules, no import may run in a circle.
"""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import adapters

ROOT = Path(__file__).parents[2]
PACKAGES = {"embedge": ROOT / "runtime/embedge", "embedge_export": ROOT / "export/embedge_export"}

# From the ground up. A new room goes above all that it imports, and below those that import it.
ROOMS = {
    "embedge": """
        errors known_models reasons printable terminal progress windows ahead cautions fork_locks
        choice options habits sizes closing failures files machine reopening run_size pack
        run_cost engine choices items vectors texts calls default_tasks images pulling batches
        run_memory sessions captures runner encoder streaming embedder selftest search bulk parts
        cluster integrations stores server pipe cli __main__
    """,
    "embedge_export": """
        reading numbers truth tensors head graph precision corpus families source model output
        plain_folder merged gate steps write recheck export hub_folder
    """,
}
# Modules of one folder that stand side by side: none imports another. What they share is named.
EQUALS = {
    "embedge.cli.commands": set[str](),
    "embedge.server.dialects": set[str](),
    "embedge.engine.providers": {"provider", "register", "cuda_graphs"},
    "embedge.integrations": adapters.SHARED,
    "embedge.stores": {"layout", "load", "opening", "rows", "store", "target"},
    "embedge_export.precision": {"precision", "integers"},
    "embedge_export.families": {
        *(
            "family",
            "fields",
            "heads",
            "linears",
            "memory",
            "rotary_base",
            "stored_adapters",
            "walk",
        ),
        *("clip", "register"),  # these stand above: a model of two families, and the list of all
    },
}
# What may be imported from outside, and where alone.
FOREIGN = {
    "onnxruntime": {"embedge.engine"},
    "pyarrow": {
        *("embedge.bulk.frames", "embedge.bulk.vectors_column"),
        *("embedge.cluster", "embedge.parts", "embedge.stores"),
    },
    "lancedb": {"embedge.stores.lance"},
    "qdrant_client": {"embedge.stores.qdrant"},
    "apsw": {"embedge.stores.sqlite_vec"},
    "sqlite_vec": {"embedge.stores.sqlite_vec"},
    "embedge_export": {"embedge.cli", "embedge_export"},
    "onnx": {"embedge_export"},
    "onnx_ir": {"embedge_export"},
    "safetensors": {"embedge_export"},
    "huggingface_hub": {"embedge_export.source"},
    "pypdf": {"embedge.search.documents"},
    "optimum": {"embedge_export.families.optimum"},
    "pandas": {"embedge.bulk.frames"},
    "polars": {"embedge.bulk.frames"},
    "ray": {"embedge.cluster"},
    "torch": {"embedge_export.families.optimum"},
    "transformers": {"embedge_export.families.optimum"},
    **{library: {f"{adapters.PLACE}.{name}"} for name, library in adapters.LIBRARIES.items()},
}
# Modules that only a few others may import, so that two ways to one result stay independent.
WALLS = {
    # What graphs are gated against shares no code with what writes them.
    "truth": ("embedge_export.graph", "embedge_export.precision", "embedge_export.gate"),
}


Arrows = dict[str, set[str]]  # module -> modules that it imports


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if "_pyinstaller" not in parts:
                name = ".".join((package, *parts))
                yield name.removesuffix(".__init__"), path


MODULES = dict(modules())


def imports(path: Path) -> set[str]:
    """The modules that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found


ARROWS: Arrows = {name: imports(path) for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1]


def within(module: str, place: str) -> bool:
    return module == place or module.startswith(place + ".")


def reached(module: str, arrows: Arrows) -> set[str]:
    """All modules of ours that importing this one brings in, the packages above them included."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        parents = [name.rsplit(".", level)[0] for level in range(1, name.count("."))]
        for other in (*arrows.get(name, ()), *parents):
            if other in arrows and other not in seen:
                seen.add(other)
                todo.append(other)
    return seen - {module}


# ------------------------------------------------------------------ the rules, and who breaks them


def upward(package: str, arrows: Arrows) -> list[str]:
    floors = {name: floor for floor, name in enumerate(ROOMS[package].split())}
    inside = [name for name in arrows if within(name, package) and name != package]
    missing = {room(name) for name in inside} - set(floors)
    assert not missing, f"ROOMS does not list {missing}"
    return [
        f"{name} imports {other}"
        for name in inside
        for other in arrows[name]
        if within(other, package) and other != package
        if floors[room(other)] > floors[room(name)]
    ]


def between_equals(folder: str, arrows: Arrows) -> list[str]:
    depth = folder.count(".") + 1

    def equal(module: str) -> str | None:
        parts = module.split(".")
        if not within(module, folder) or len(parts) == depth or parts[depth] in EQUALS[folder]:
            return None
        return parts[depth]

    return [
        f"{name} imports {other}"
        for name in arrows
        for other in arrows[name]
        if equal(name) and equal(other) and equal(name) != equal(other)
    ]


def astray(library: str, arrows: Arrows) -> list[str]:
    return [
        f"{name} imports {other}"
        for name in arrows
        for other in arrows[name]
        if within(other, library) and not within(name, library)
        if not any(within(name, place) for place in FOREIGN[library])
    ]


def through_the_wall(kind: str, arrows: Arrows) -> list[str]:
    return [
        f"{name} brings in {other}"
        for name in arrows
        if name.endswith("." + kind)
        for other in reached(name, arrows)
        if any(within(other, place) for place in WALLS[kind])
    ]


@pytest.mark.parametrize("package", ["embedge", "embedge_export"])
def test_arrows_run_down_the_list_only(package: str) -> None:
    assert not upward(package, ARROWS)
    rooms = {room(name) for name in ARROWS if within(name, package) and name != package}
    assert rooms == set(ROOMS[package].split()), "ROOMS lists a room that is gone"


def test_no_module_imports_one_that_imports_it() -> None:
    graph = {name: {other for other in ARROWS[name] if other in ARROWS} for name in ARROWS}
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError if there is a circle


@pytest.mark.parametrize("folder", EQUALS)
def test_equals_do_not_import_each_other(folder: str) -> None:
    assert not between_equals(folder, ARROWS)


@pytest.mark.parametrize("library", FOREIGN)
def test_libraries_are_imported_in_their_room_alone(library: str) -> None:
    assert not astray(library, ARROWS)


@pytest.mark.parametrize("kind", WALLS)
def test_truths_are_independent_of_writers(kind: str) -> None:
    assert any(name.endswith("." + kind) for name in ARROWS)
    assert not through_the_wall(kind, ARROWS)


def test_no_framework_without_its_adapter() -> None:
    stems = {path.stem for path in adapters.FOLDER.glob("[a-z]*.py")}
    assert stems == {*adapters.LIBRARIES, *adapters.SHARED}
    for name, library in adapters.LIBRARIES.items():
        found = ARROWS[f"{adapters.PLACE}.{name}"]
        assert any(within(module, library) for module in found), name


def test_opening_a_source_loads_no_writer_of_graphs() -> None:
    """It asks a family for habits alone; the truths and the writers are loaded later."""
    code = "import sys, embedge_export.source.folder; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "embedge_export.families.register" in loaded
    assert not [
        name
        for name in loaded
        if name.endswith((".truth", ".blocks", ".writer"))
        or any(within(name, place) for place in ("embedge_export.graph", "onnx", "onnx_ir"))
    ]


def test_model_types_stand_in_the_register_alone() -> None:
    from embedge_export.families.register import FAMILIES

    apart = ("embedge_export.families", "embedge_export.source.files")  # the latter: file names
    for name, path in MODULES.items():
        if within(name, "embedge_export") and not any(within(name, place) for place in apart):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            constants = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
            assert not constants & FAMILIES.keys(), name


def test_each_rule_finds_who_breaks_it() -> None:
    assert upward(
        "embedge", {"embedge.pack.files": {"embedge.cli.screen"}, "embedge.cli.screen": set()}
    )
    assert between_equals(
        "embedge.cli.commands", {"embedge.cli.commands.doctor": {"embedge.cli.commands.bench"}}
    )
    assert astray("onnxruntime", {"embedge.runner": {"onnxruntime.capi"}})
    assert through_the_wall(
        "truth",
        {
            "embedge_export.families.bert.truth": {"embedge_export.families.bert.config"},
            "embedge_export.families": {"embedge_export.graph.builder"},
            "embedge_export.families.bert": set(),
            "embedge_export.families.bert.config": set(),
            "embedge_export.graph": set(),
            "embedge_export.graph.builder": set(),
        },
    )

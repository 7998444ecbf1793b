"""The public names of both packages: one is added or lost here first.

A name in these lists is a promise. It exists, `dir` and `__all__` know it, type checkers know it
from the same place where it is loaded from, and importing the package loads nothing heavy for it.
"""

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import embedge
import embedge_export
from embedge import errors
from support import adapters

ERRORS = """
    AdapterError CancelledError ClosedError ClusterError DeviceError EmbedgeError ExportError
    GateError ImageError IndexBusyError IndexFileError IndexOutdatedError IndexReadOnlyError
    IndexRowsError InputError ManifestError MemoryLimitError MissingExtraError NonFiniteError
    OptionError PackError PackFileError SearchIndexError SourceError StoreError TextError
    TextTooLongError
"""
PUBLIC = {
    embedge: f"""
        Embedder SearchIndex
        quantize read_manifest similarity
        LanguageWarning RangesWarning TaskWarning TruncationWarning
        __version__
        {ERRORS}
    """,
    embedge_export: """
        HubFolders OnProgress Overrides PRECISIONS Source Step
        export_hub_folders export_pack open_for_merging open_pack_source open_source verify_pack
        write_merged
    """,
}
PACKAGES = pytest.mark.parametrize("package", PUBLIC, ids=lambda package: package.__name__)

ADAPTERS = {
    "chroma": "EmbedgeEmbeddingFunction",
    "daft": "EmbedgeProvider",
    "haystack": "EmbedgeDocumentEmbedder EmbedgeDocumentImageEmbedder EmbedgeTextEmbedder",
    "langchain": "EmbedgeEmbeddings",
    "llama_index": "EmbedgeEmbedding EmbedgeMultiModalEmbedding",
    "mteb": "EmbedgeEncoder",
    "sklearn": "EmbedgeVectorizer",
}


def typed(package: ModuleType) -> dict[str, str]:
    """The names that a package imports for type checkers alone, and their modules."""
    tree = ast.parse(Path(inspect.getfile(package)).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.name: str(node.module)
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@PACKAGES
def test_public_names_are_those_of_the_list(package: ModuleType) -> None:
    names = PUBLIC[package].split()
    assert sorted(package.__all__) == sorted(names)
    assert len(set(names)) == len(names)
    assert set(dir(package)) == set(names)
    for name in names:
        assert getattr(package, name) is not None


@PACKAGES
def test_names_that_are_loaded_late_are_typed_from_the_same_place(package: ModuleType) -> None:
    assert typed(package) == package._LAZY
    for name, module in package._LAZY.items():
        assert getattr(package, name) is getattr(importlib.import_module(module), name)


@PACKAGES
def test_an_unknown_name_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=rf"'{package.__name__}' has no attribute 'Nobody'"):
        _ = package.Nobody


@pytest.mark.parametrize("name", adapters.LIBRARIES)
def test_adapters_hold_the_classes_of_the_list(name: str) -> None:
    """Read, not imported: their frameworks are not in this environment."""
    tree = ast.parse((adapters.FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    classes = sorted(n.name for n in tree.body if isinstance(n, ast.ClassDef))
    assert [one for one in classes if not one.startswith("_")] == ADAPTERS[name].split()


def test_every_error_is_public() -> None:
    assert ERRORS.split() == sorted(name for name in vars(errors) if name.endswith("Error"))

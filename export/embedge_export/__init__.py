"""Builds model packs: a model folder or hub id in, ONNX graphs and a manifest out.

>>> from embedge_export import export_pack
>>> manifest = export_pack("my-model", out="new-pack", precisions=["int8"])  # or "org/name"
>>> manifest.precisions(), manifest.verification["int8"].passed
(('int8',), True)

Torch-free. May import `embedge` (packs are verified with the real runtime), never the other way
round. Everything here needs the packages of the extra `export`; this file says so when one is
missing, so that no module below has to.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from embedge.errors import MissingExtraError

if TYPE_CHECKING:
    from embedge.pack.manifest import PRECISIONS
    from embedge_export.export import export_pack
    from embedge_export.hub_folder import HubFolders, export_hub_folders
    from embedge_export.merged import open_for_merging, write_merged
    from embedge_export.recheck import open_pack_source, verify_pack
    from embedge_export.source.folder import open_source
    from embedge_export.source.overrides import Overrides
    from embedge_export.source.record import Source
    from embedge_export.steps import OnProgress, Step

__all__ = [
    "PRECISIONS",
    "HubFolders",
    "OnProgress",
    "Overrides",
    "Source",
    "Step",
    "export_hub_folders",
    "export_pack",
    "open_for_merging",
    "open_pack_source",
    "open_source",
    "verify_pack",
    "write_merged",
]

# huggingface_hub is not in this list: a local folder needs none of it (`hub.py` asks for it).
_NEEDED = ("filelock", "ml_dtypes", "onnx", "onnx_ir", "safetensors")
_missing = [name for name in _NEEDED if find_spec(name) is None]
if _missing:
    raise MissingExtraError(
        f"exporting needs {', '.join(_missing)}; install with: pip install 'embedge[export]'"
    )

# Loaded when first asked for, so that no module waits for all others.
_LAZY = {
    "PRECISIONS": "embedge.pack.manifest",
    "HubFolders": "embedge_export.hub_folder",
    "OnProgress": "embedge_export.steps",
    "Overrides": "embedge_export.source.overrides",
    "Source": "embedge_export.source.record",
    "Step": "embedge_export.steps",
    "export_hub_folders": "embedge_export.hub_folder",
    "export_pack": "embedge_export.export",
    "open_for_merging": "embedge_export.merged",
    "open_pack_source": "embedge_export.recheck",
    "open_source": "embedge_export.source.folder",
    "verify_pack": "embedge_export.recheck",
    "write_merged": "embedge_export.merged",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'embedge_export' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

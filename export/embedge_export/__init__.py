"""Builds model packs: a model folder or hub id in, ONNX graphs and a manifest out.

Torch-free. May import `embedge` (packs are verified with the real runtime), never the other way
round. Everything here needs the packages of the extra `export`; this file says so when one is
missing, so that no module below has to.
"""

from importlib.util import find_spec

from embedge.errors import MissingExtraError

# huggingface_hub is not in this list: a local folder needs none of it (`hub.py` asks for it).
_NEEDED = ("filelock", "ml_dtypes", "onnx", "onnx_ir", "safetensors")
_missing = [name for name in _NEEDED if find_spec(name) is None]
if _missing:
    raise MissingExtraError(
        f"exporting needs {', '.join(_missing)}; install with: pip install 'embedge[export]'"
    )

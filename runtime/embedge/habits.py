"""What users of other embedding libraries type, and its name here.

Knows names only: those of Sentence Transformers, fastembed, LangChain, LlamaIndex, transformers and
the hosted APIs. Looked up when Python has failed to find a name, so that no call pays for it; the
error stays Python's own (AttributeError, TypeError), and `hasattr`, `dir`, copying and pickling see
nothing of the table.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

_NOTHING = "nothing: "
_QUERY = "encode_query(texts)"
_DOCUMENT = "encode_document(texts)"
_DEVICE = "device= of Embedder(...)"
_THREADS = "threads= of Embedder(...)"
_THREAD = "in a thread: await asyncio.to_thread(embedder.{}, texts)"
_ASYNC = f"encode(texts), {_THREAD.format('encode')}"
_PATH = "the pack's folder or name as the first argument"
_NO_DOWNLOAD = f"{_NOTHING}a pack is a local folder, and none is downloaded"
_PROGRESS = "progress=True, or a callable as progress(done, total)"
_WIDTH = "truncate_dim="
_ARRAY = f"{_NOTHING}the result is a NumPy array"
_TENSOR = f"{_NOTHING}the result is a NumPy array, which torch.from_numpy(array) takes"

# Attributes of `Embedder`: what to use in their place.
ATTRIBUTES: Mapping[str, str] = {
    "embed": "encode(texts), or encode_iter(texts) for a row at a time",
    "aembed": _ASYNC,
    "aencode": _ASYNC,
    "aembed_query": f"{_QUERY}, {_THREAD.format('encode_query')}",
    "aembed_documents": f"{_DOCUMENT}, {_THREAD.format('encode_document')}",
    "embed_batch": "encode(texts)",
    "get_text_embedding": "encode(text)",
    "get_text_embedding_batch": "encode(texts)",
    "encode_text": "encode(texts)",
    "encode_texts": "encode(texts)",
    "predict": "encode(texts)",
    "forward": "encode(texts)",
    "query_embed": _QUERY,
    "embed_query": _QUERY,
    "get_query_embedding": _QUERY,
    "encode_queries": _QUERY,
    "passage_embed": _DOCUMENT,
    "embed_documents": f"{_DOCUMENT}, or embedge.integrations.langchain for LangChain",
    "encode_documents": _DOCUMENT,
    "encode_passage": _DOCUMENT,
    "encode_corpus": _DOCUMENT,
    "embed_image": "encode_image(images)",
    "encode_images": "encode_image(images)",
    "encode_multi_process": "encode(texts), which uses several threads",
    "start_multi_process_pool": "encode(texts), which uses several threads",
    "get_sentence_embedding_dimension": "dimension",
    "get_embedding_dimension": "dimension",
    "embedding_dimension": "dimension",
    "embedding_size": "dimension",
    "get_embedding_size": "dimension",
    "dimensions": "dimension",
    "dim": "dimension",
    "max_seq_length": "max_length, and encode(..., max_length=N) for shorter texts",
    "get_max_seq_length": "max_length",
    "tokenizer": "count_tokens(texts); manifest.text.tokenizer names the file in the pack's folder",
    "tokenize": "count_tokens(texts); manifest.text.tokenizer names the file in the pack's folder",
    "token_count": "count_tokens(texts)",
    "similarity_pairwise": "(a * b).sum(axis=1), for rows of length 1 as encode gives them",
    "similarity_fn_name": "similarity(a, b), which is the cosine",
    "default_prompt_name": "manifest.default_prompt",
    "default_task": "manifest.default_task",
    "model_name": "manifest.model_id",
    "list_supported_models": "tasks and manifest; `embedge list --models` names models",
    "save": "folder, which is all there is to a pack: copy it",
    "save_pretrained": "folder, which is all there is to a pack: copy it",
    "to": _DEVICE,
    "cuda": _DEVICE,
    "cpu": _DEVICE,
    "half": "precision= of Embedder(...)",
    "eval": f"{_NOTHING}a pack is never trained",
}

# Keywords by function: what to pass in their place. First those of texts and images alike.
_ENCODE: Mapping[str, str] = {
    "show_progress_bar": _PROGRESS,
    "show_progress": _PROGRESS,
    "normalize_embeddings": "normalize=",
    "normalized": "normalize=",
    "normalise": "normalize=",
    "convert_to_numpy": _ARRAY,
    "return_numpy": _ARRAY,
    "convert_to_tensor": _TENSOR,
    "return_tensors": _TENSOR,
    "precision": 'embedding_type="int8" for small vectors; precision= of Embedder(...) for graphs',
    "encoding_format": "embedding_type=",
    "dtype": "embedding_type=",
    "dimensions": _WIDTH,
    "dimension": _WIDTH,
    "dim": _WIDTH,
    "output_dimensionality": _WIDTH,
    "matryoshka_dim": _WIDTH,
    "task_type": "task=",
    "device": _DEVICE,
    "parallel": _THREADS,
    "num_proc": _THREADS,
    "threads": _THREADS,
    "pool": _THREADS,
}
_TEXTS: Mapping[str, str] = {
    **_ENCODE,
    "sentences": "the texts as the first argument",
    "documents": "the texts as the first argument",
    "inputs": "the texts as the first argument",
    "input": "the texts as the first argument",
    "text": "the text as the first argument",
    "query": "the text as the first argument",
    "num_workers": _THREADS,
    "batch_size": "token_budget= of Embedder(...): runs are cut by tokens, not by texts",
    "chunk_size": "token_budget= of Embedder(...): runs are cut by tokens, not by texts",
    "output_value": f"{_NOTHING}the result is one vector for each text",
    "max_seq_length": "max_length=",
    "truncation": 'on_overflow="truncate" or "error"',
    "truncate": 'on_overflow="truncate" or "error"',
    "input_type": "encode_query or encode_document, or task=",
    "prompt_type": "encode_query or encode_document, or prompt_name=",
    "instruction": "prompt=",
}
KEYWORDS: Mapping[str, Mapping[str, str]] = {
    "encode": _TEXTS,
    "encode_image": {
        **_ENCODE,
        "sentences": "the images as the first argument",
        "batch_size": f"{_NOTHING}the device and the memory limit set the size of a run",
        "max_length": f"{_NOTHING}it is for texts",
        "prompt_name": f"{_NOTHING}it is for texts",
        "prompt": f"{_NOTHING}it is for texts",
    },
    "__init__": {
        "model": _PATH,
        "model_name": _PATH,
        "model_name_or_path": _PATH,
        "model_path": _PATH,
        "pack": _PATH,
        "cache_dir": _NO_DOWNLOAD,
        "cache_folder": _NO_DOWNLOAD,
        "local_files_only": _NO_DOWNLOAD,
        "revision": _NO_DOWNLOAD,
        "token": _NO_DOWNLOAD,
        "trust_remote_code": f"{_NOTHING}a pack holds no code",
        "backend": f"{_NOTHING}packs run on ONNX Runtime",
        "providers": 'device="cpu" or device="cuda"',
        "cuda": 'device="cuda"',
        "device_ids": 'device="cuda"',
        "dtype": "precision=",
        "torch_dtype": "precision=",
        "model_kwargs": "precision=, device= and threads=",
        "parallel": "threads=",
        "num_threads": "threads=",
        "intra_op_num_threads": "threads=",
        "lazy_load": f"{_NOTHING}the first call loads the weights; warm_up=True loads them now",
        "batch_size": "token_budget=, the padded tokens of one run",
        "max_seq_length": "max_length= of encode",
        "max_length": "max_length= of encode",
        "truncate_dim": "truncate_dim= of encode",
        "task": "task= of encode",
        "prompts": "prompt= or prompt_name= of encode",
        "default_prompt_name": "prompt_name= of encode",
        "normalize": "normalize= of encode",
    },
}

# Names that other packages import: what `embedge` calls them.
MODULE: Mapping[str, str] = {
    "SentenceTransformer": "Embedder",
    "TextEmbedding": "Embedder",
    "ImageEmbedding": "Embedder, and its encode_image",
    "HuggingFaceEmbeddings": "embedge.integrations.langchain.EmbedgeEmbeddings",
    "AutoModel": "Embedder",
    "cos_sim": "similarity",
    "semantic_search": "SearchIndex, or similarity for vectors in memory",
    "quantize_embeddings": "quantize",
}


def missing_attribute(owner: object, name: str) -> AttributeError:
    """The error for an attribute that an object lacks, with its name here where it is known."""
    message = f"{type(owner).__name__!r} object has no attribute {name!r}"
    if use := ATTRIBUTES.get(name):
        return AttributeError(f"{message}; {_advice(use)}")
    return AttributeError(message, name=name, obj=owner)  # Python adds "Did you mean"


def unknown_keyword(function: Callable[..., Any], given: Iterable[str]) -> TypeError | None:
    """The error for the first keyword that a function does not take; None where it takes them all.

    Args:
        function: what was called.
        given: the keywords of the call.
    """
    import difflib  # not while names are only looked up
    import inspect

    parameters = inspect.signature(function).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return None
    unknown = next((name for name in given if name not in parameters), None)
    if unknown is None:
        return None
    message = f"{function.__qualname__}() has no argument {unknown!r}"
    if use := KEYWORDS.get(function.__name__, {}).get(unknown):
        return TypeError(f"{message}; {_advice(use)}")
    if near := difflib.get_close_matches(unknown, parameters, 1):
        return TypeError(f"{message}; did you mean {near[0]!r}?")
    names = ", ".join(name for name in parameters if name != "self")
    return TypeError(f"{message}; it takes {names}")


def _advice(use: str) -> str:
    """What to do, from an entry of the tables."""
    if use.startswith(_NOTHING):
        return f"leave it out: {use.removeprefix(_NOTHING)}"
    return f"use {use}"

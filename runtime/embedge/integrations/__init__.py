"""Adapters: an `Embedder` behind the interfaces of other frameworks, one framework a module.

`embedge.integrations.langchain`, `llama_index`, `haystack`, `chroma`, `sklearn` and `mteb`. Each
imports its framework, which embedge does not install, when it is imported itself. They take the
folder of a pack, or an `Embedder`, and open a pack when it is first needed.
"""

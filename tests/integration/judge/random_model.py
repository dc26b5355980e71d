"""A real inference server with a random model: what it says means nothing, how it says it is real.

`write_model` writes a language model of 100,000 random weights in the format that llama.cpp loads, with a tokenizer
of bytes and a chat template. Run as a program with the path of such a file, this module serves it with llama.cpp's
own HTTP server on a free port and prints the address.
"""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import gguf
import numpy as np

SAID = ["\nSAME", "\nDIFFERENT", "\nUNCLEAR", "\nwell", " so"]
"""What it says of its own accord. The first three are words of the contract of `judge/equivalence`."""
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
ALIAS = "random"
CONTEXT = 16_384
"""Tokens, here bytes, for a question and its answer."""
SLOTS = 4
"""Answers at a time."""

_END = 2
_WIDTH, _INNER, _HEADS, _LAYERS = 64, 128, 4, 2
_LOUD = 4.0


def write_model(path: Path) -> None:
    """Write the model. It is the same at every call."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *SAID]
    kind = gguf.TokenType
    kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *[kind.BYTE] * 256, *[kind.USER_DEFINED] * len(SAID)]
    model = gguf.GGUFWriter(path, "llama")
    model.add_context_length(CONTEXT)
    model.add_embedding_length(_WIDTH)
    model.add_block_count(_LAYERS)
    model.add_feed_forward_length(_INNER)
    model.add_head_count(_HEADS)
    model.add_head_count_kv(_HEADS)
    model.add_rope_dimension_count(_WIDTH // _HEADS)
    model.add_layer_norm_rms_eps(1e-6)
    model.add_vocab_size(len(words))
    model.add_tokenizer_model("llama")
    model.add_token_list([word.encode() for word in words])
    model.add_token_scores([0.0] * len(words))
    model.add_token_types(kinds)
    model.add_unk_token_id(0)
    model.add_bos_token_id(1)
    model.add_eos_token_id(_END)
    model.add_add_space_prefix(False)
    model.add_chat_template(TEMPLATE)
    for name, tensor in _weights(len(words)).items():
        model.add_tensor(f"{name}.weight", tensor)
    model.write_header_to_file()
    model.write_kv_data_to_file()
    model.write_tensors_to_file()
    model.close()


def _weights(words: int) -> dict[str, Any]:
    """Return the tensors by name: random, but for biases towards what it is to say.

    The first three columns are a word's alone: no layer writes to them, so the last matrix finds them as they were.
    The first is the same for every word; the second marks verdicts, which want an end; the third words that put
    a verdict off, which want one.
    """
    source = np.random.default_rng(2)

    def draw(*shape: int, spread: float = 0.3) -> Any:
        return (source.standard_normal(shape) * spread).astype(np.float32)

    verdicts, delays = [words - 5, words - 4, words - 3], [words - 2, words - 1]
    ones = np.ones(_WIDTH, np.float32)
    embedding = draw(words, _WIDTH)
    embedding[:, :3] = [_LOUD, 0, 0]
    embedding[verdicts, 1] = embedding[delays, 2] = _LOUD
    head = draw(words, _WIDTH, spread=0.6)
    head[:, :3] = [-20, 0, 0]
    head[verdicts, :3] = [0, -2, 0]
    head[delays, :3] = [0, -1, -2]
    head[_END, :3] = [-2, 7, 0]
    tensors = {"token_embd": embedding, "output_norm": ones, "output": head}
    for layer in range(_LAYERS):
        name = f"blk.{layer}"
        tensors |= {f"{name}.attn_norm": ones, f"{name}.ffn_norm": ones}
        # Wide, so that it looks at few places and its answer hangs on what stands there.
        tensors |= {f"{name}.attn_{part}": draw(_WIDTH, _WIDTH, spread=1.0) for part in ("q", "k")}
        tensors |= {f"{name}.attn_{part}": draw(_WIDTH, _WIDTH) for part in ("v",)}
        tensors |= {f"{name}.ffn_{part}": draw(_INNER, _WIDTH) for part in ("gate", "up")}
        tensors[f"{name}.attn_output"] = draw(_WIDTH, _WIDTH, spread=0.05)
        tensors[f"{name}.ffn_down"] = draw(_WIDTH, _INNER, spread=0.05)
        tensors[f"{name}.attn_output"][:3] = tensors[f"{name}.ffn_down"][:3] = 0
    return tensors


class RandomModel:
    """The server as a process of its own. `url` is where it listens, once started."""

    url: str

    def __init__(self, folder: Path) -> None:
        """Describe it; `start` runs it."""
        self._path = folder / "model.gguf"
        self._log = folder / "log"

    def start(self) -> "RandomModel":
        """Write the model, serve it, and wait until it answers."""
        write_model(self._path)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, self._path], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, self._log.read_text()
        return self

    def kill(self) -> None:
        """End it without a word."""
        with self._process as ended:
            ended.kill()


def main(path: str) -> None:
    """Serve the model until the process is killed."""
    import xllamacpp  # type: ignore[import-untyped] # a compiled module without stubs; here alone, as it takes time

    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.model_alias = {ALIAS}
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.n_parallel = SLOTS
    settings.n_ctx = SLOTS * CONTEXT
    settings.cpuparams.n_threads = 1
    settings.ui = False
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])

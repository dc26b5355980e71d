"""Writes a random language model with its tokenizer and chat template into the folder that it is given.

The model answers in words that a judge's contract knows, one a line, so that some of its replies can be read
and others cannot. What it says means nothing; that it comes from a real inference server is the point.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch  # type: ignore[import-not-found]
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # type: ignore[import-not-found]
from transformers import (  # type: ignore[import-not-found]
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

END = " \n"
"""Blank, as the server leaves special tokens in what it answers."""
SPECIAL = ["<pad>", "<bos>", END]
SAID = ["\nSAME", "\nDIFFERENT", "\nUNCLEAR", "\nwell", " so"]
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"


def main(folder: Path) -> None:
    """Write everything that a server loads."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    bytes_alone = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bare.train_from_iterator(["the answer is the same as the reference answer"], bytes_alone)
    bare.add_tokens(SAID)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", bos_token="<bos>", eos_token=END
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=bare.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, initializer_range=0.6, max_position_embeddings=4096,
            tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    heads = model.lm_head.weight
    with torch.no_grad():  # it says its words alone, and ends at some time; the input decides which and when
        says = [bare.token_to_id(word) for word in (*SAID, END)]
        wide = torch.randn(len(says), heads.shape[1]) * 0.3
        heads.zero_()
        heads[says] = wide
    # Without `do_sample` the server stays greedy whatever temperature a request names.
    model.generation_config = GenerationConfig(do_sample=True, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    model.save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A language model of some thousand parameters and its tokenizer, made on the spot: nothing is downloaded."""

from __future__ import annotations

from typing import Any

WORDS = [*"0123456789", "yes", "no", "."]
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"


def tokenizer() -> Any:
    """Return a tokenizer whose tokens are digits and a few words, with blanks between them."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # type: ignore[import-not-found]
    from transformers import PreTrainedTokenizerFast  # type: ignore[import-not-found]

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS, "user", "assistant"])}
    bare = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    made.chat_template = TEMPLATE
    return made


def model(vocabulary: int) -> Any:
    """Return a random Qwen2 of two layers."""
    import torch  # type: ignore[import-not-found]
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return Qwen2ForCausalLM(config)

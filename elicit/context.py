"""How many positions a model has, and the one line for text that goes beyond them. Imports no torch.

A table of positions (GPT-2, OPT) ends in an index error, on a GPU in an assertion of the device. Rotary models go on
without a word, at positions that they were never trained on. Both are refused before the first forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elicit.errors import ElicitError

#: What configs of decoder-only models call their number of positions.
_NAMES = ("n_positions", "max_position_embeddings", "max_seq_len", "max_sequence_length", "model_max_length")
#: Rotary scalings that stretch the positions a model was trained on. By transformers' convention a config keeps the
#: number from before in `original_max_position_embeddings`, or else in `max_position_embeddings` itself.
_STRETCHING = ("linear", "yarn", "llama3", "longrope")


def context_length(config: Mapping[str, Any]) -> int | None:
    """The most tokens that a model can read, prompt and completion together; None where nothing limits them.

    Args:
        config: the fields of its config.json, or `vars` of a transformers config; of the language model where a model
            has several parts. ALiBi (Falcon, BLOOM; not MPT, whose table has `max_seq_len` entries), dynamic rotary
            scaling and recurrences have no limit.
    """
    if config.get("alibi") is True:
        return None
    sizes: list[int] = [config[name] for name in _NAMES if isinstance(config.get(name), int) and config[name] > 0]
    scaling = config.get("rope_parameters") or config.get("rope_scaling")
    if not sizes or not isinstance(scaling, Mapping):
        return min(sizes, default=None)
    kind, factor = scaling.get("rope_type", scaling.get("type")), scaling.get("factor")
    if kind == "dynamic":
        return None  # its frequencies follow the length of the text
    if kind not in _STRETCHING or not isinstance(factor, int | float) or factor <= 0:
        return min(sizes)
    before = scaling.get("original_max_position_embeddings") or config.get("max_position_embeddings") or min(sizes)
    return max(*sizes, int(before * factor)) if isinstance(before, int) else max(sizes)


def check_prompt_fits(prompt: int, new: int, most: int | None, *, model: str = "this model", who: str = "") -> None:
    """Refuse a prompt of so many tokens with room for so many new ones.

    Raises:
        ElicitError: with the numbers, if together they go beyond `most` positions (None: no limit).
    """
    if most is None or prompt + new <= most:
        return
    prefix = f"{who}: " if who else ""
    if prompt >= most:
        raise ElicitError(
            f"{prefix}a prompt of {prompt:,} tokens leaves no room for an answer in the {most:,} positions of {model}. "
            "Shorten the prompt."
        )
    raise ElicitError(
        f"{prefix}a prompt of {prompt:,} tokens and up to {new:,} new ones go beyond the {most:,} positions of "
        f"{model}. "
        f"Type max_new_tokens of at most {most - prompt:,}, or shorten the prompt."
    )


def check_text_fits(tokens: int, most: int | None, *, model: str = "this model", who: str = "") -> None:
    """Refuse a text of so many tokens that a model is to read, to score or to be trained on.

    Raises:
        ElicitError: with the numbers, if it goes beyond `most` positions (None: no limit).
    """
    if most is not None and tokens > most:
        prefix = f"{who}: " if who else ""
        raise ElicitError(
            f"{prefix}a text of {tokens:,} tokens (prompt and completion) goes beyond the {most:,} positions of "
            f"{model}. Shorten it, or leave it out."
        )

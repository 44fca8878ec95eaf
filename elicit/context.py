"""Context length of a model, and errors for text beyond it. Imports no torch.

Beyond a table of positions (GPT-2, OPT) a forward pass fails with an index error, on a GPU with a device assertion.
Rotary models continue silently at positions on which they were never trained. Both are refused before the first forward
pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elicit.errors import ElicitError

#: Names of the number of positions in configs of decoder-only models.
_NAMES = ("n_positions", "max_position_embeddings", "max_seq_len", "max_sequence_length", "model_max_length")
#: Rotary scalings that stretch the positions a model was trained on. By transformers' convention a config keeps the
#: number from before in `original_max_position_embeddings`, or else in `max_position_embeddings` itself.
_STRETCHING = ("linear", "yarn", "llama3", "longrope")


def context_length(config: Mapping[str, Any]) -> int | None:
    """Most tokens that a model can read, prompt and completion together; None without a limit.

    Args:
        config: the fields of its config.json, or `vars` of a transformers config; the language model's if a model has
            several parts. ALiBi (Falcon, BLOOM; not MPT, whose table has `max_seq_len` entries), dynamic rotary scaling
            and recurrences have no limit.
    """
    if config.get("alibi") is True:
        return None
    sizes: list[int] = [config[name] for name in _NAMES if isinstance(config.get(name), int) and config[name] > 0]
    scaling = config.get("rope_parameters") or config.get("rope_scaling")
    if not sizes or not isinstance(scaling, Mapping):
        return min(sizes, default=None)
    kind, factor = scaling.get("rope_type", scaling.get("type")), scaling.get("factor")
    if kind == "dynamic":
        return None  # its frequencies adapt to the length of the text
    if kind not in _STRETCHING or not isinstance(factor, int | float) or factor <= 0:
        return min(sizes)
    before = scaling.get("original_max_position_embeddings") or config.get("max_position_embeddings") or min(sizes)
    return max(*sizes, int(before * factor)) if isinstance(before, int) else max(sizes)


def check_prompt_fits(prompt: int, new: int, most: int | None, *, model: str = "this model", who: str = "") -> None:
    """Refuse a prompt that is too long together with its new tokens.

    Raises:
        ElicitError: together they exceed `most` positions (None: no limit).
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


def check_sampling_fits(prompt: int, new: int, most: int | None) -> None:
    """Refuse a prompt whose new tokens cannot be sampled. The last of them is never read, so it needs no position.

    Text that is read as well (scored, trained on) takes a position more: `check_prompt_fits`, `check_text_fits`.

    Raises:
        ElicitError: the tokens that are read exceed `most` positions (None: no limit).
    """
    if most is not None and prompt + new - 1 > most:
        check_prompt_fits(prompt, new, most)


def check_text_fits(tokens: int, most: int | None, *, model: str = "this model", who: str = "") -> None:
    """Refuse a text that is too long for reading, scoring or training.

    Raises:
        ElicitError: it exceeds `most` positions (None: no limit).
    """
    if most is not None and tokens > most:
        prefix = f"{who}: " if who else ""
        raise ElicitError(
            f"{prefix}a text of {tokens:,} tokens (prompt and completion) goes beyond the {most:,} positions of "
            f"{model}. Shorten it, or leave it out."
        )

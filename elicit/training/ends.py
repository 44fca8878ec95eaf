"""Which token ends an answer, so that a model is trained to end as it is sampled.

The sampler stops at every end token that the model's generation config or its tokenizer names. Under a chat prompt an
answer ends with what the chat template puts after an assistant's message (`<|im_end|>`, `<end_of_turn>`,
`<|eot_id|>`), which need not be the tokenizer's EOS (Gemma's is `<eos>`); elsewhere it ends with the EOS.
"""

from __future__ import annotations

from elicit.errors import ElicitError
from elicit.loading.ends import turn_end
from elicit.model import BaseModel

_QUESTION = "Say a word."


def end_of(base: BaseModel, prompt: str, *, who: str) -> int:
    """The id of the token that ends an answer to `prompt`.

    Args:
        prompt: as the model is asked, chat markup included: by its end it is known as a chat's.
        who: the method that asks, for the message.

    Raises:
        ElicitError: if nothing ends an answer.
    """
    turn = _turn(base)
    if turn is not None and prompt.endswith(turn[0]):
        return turn[1]
    ends = base.engine.end_ids
    own = base.tokenizer.eos_token_id
    if own is not None and int(own) in ends:
        return int(own)
    if ends:
        named = base.hf.generation_config.eos_token_id  # its first is the one it goes by
        return int(named[0] if isinstance(named, list) else named)
    raise ElicitError(
        f"{who}: {base.name} names no end token, so an answer it is trained on could not end. Set eos_token_id in its "
        "generation_config.json, or eos_token in its tokenizer_config.json."
    )


def _turn(base: BaseModel) -> tuple[str, int] | None:
    """How a chat prompt ends, and the end token that follows an assistant's message; None without such a template."""
    end = turn_end(base.tokenizer, base.engine.end_ids)
    if base.chat is None or end is None:
        return None
    try:
        opening = base.chat([{"role": "user", "content": _QUESTION}]).rpartition(_QUESTION)[2]
    except ElicitError:  # a template that cannot do this opens no turn
        return None
    return (opening, end) if opening.strip() else None

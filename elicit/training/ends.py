"""The token that ends an answer, so that a model is trained to end answers as sampling expects.

The sampler stops at every end token that the model's generation config or its tokenizer names. Under a chat prompt an
answer ends with the token that the chat template puts after an assistant's message (`<|im_end|>`, `<end_of_turn>`,
`<|eot_id|>`), which need not be the tokenizer's EOS (Gemma's is `<eos>`); elsewhere it ends with the EOS.
"""

from __future__ import annotations

from elicit.errors import ElicitError, one_line
from elicit.loading.ends import find_lost_turn_end, find_turn_end
from elicit.model import BaseModel

_QUESTION = "Say a word."


def end_of(base: BaseModel, prompt: str, *, who: str) -> int:
    """The id of the token that ends an answer to `prompt`.

    Args:
        prompt: the full prompt, chat markup included; its end tells whether it is a chat prompt.
        who: name of the method, for messages.

    Raises:
        ElicitError: the model does not have an end token, or its weights lack a row for it.
    """
    ends = base.engine.end_ids
    opening = _find_chat_opening(base)
    if opening.strip() and prompt.endswith(opening):
        lost = find_lost_turn_end(base.tokenizer, base.hf)
        if lost is not None:
            raise ElicitError(
                f"{who}: the chat template of {base.name} ends an answer with {one_line(repr(lost), 60)}, for which "
                "its weights lack a row. Ask it without the template: prompts: {chat: false}"
            )
        turn = find_turn_end(base.tokenizer, ends)
        if turn is not None:
            return turn
    eos_id = base.tokenizer.eos_token_id
    if eos_id is not None and int(eos_id) in ends:
        return int(eos_id)
    if ends:
        config_eos = base.hf.generation_config.eos_token_id  # generation uses the first
        return int(config_eos[0] if isinstance(config_eos, list) else config_eos)
    raise ElicitError(
        f"{who}: {base.name} names no end token, so an answer it is trained on could not end. Set eos_token_id in its "
        "generation_config.json, or eos_token in its tokenizer_config.json."
    )


def _find_chat_opening(base: BaseModel) -> str:
    """The text after the question in a chat prompt; empty without such a template."""
    if base.chat is None:
        return ""
    try:
        return base.chat([{"role": "user", "content": _QUESTION}]).rpartition(_QUESTION)[2]
    except ElicitError:  # such a template does not open a turn
        return ""

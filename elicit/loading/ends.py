"""End tokens of completions, and the beginning of prompts.

A model may have several end tokens, and its files name only some of them: a chat model's config often names only its
end of turn, and a GGUF file has room for one. A sampler that misses one continues into a next document, whose text then
counts as part of the answer. So the ends of a model are the union of

1. those that its generation config, its config and its tokenizer name; 2. the token that its chat template puts after
an assistant's message, if it is a control token; 3. control tokens of its vocabulary with the usual names of end
tokens.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Container
from functools import lru_cache
from typing import Any

from elicit.errors import one_line
from elicit.loading import architectures, rows
from elicit.loading.templates import ChatTemplate, TemplateError, get_chat_template, today

#: Names of end tokens in the supported families. They count only if they are control tokens.
NAMES = (
    *("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"),
    *("<|eom_id|>", "<｜end▁of▁sentence｜>"),
)
_ANSWER = "elicit-answer"


def set_end_ids(tokenizer: Any, hf: Any) -> frozenset[int]:
    """Write every end token of a model into its generation config, and return them. The set may be empty."""
    model = architectures.unwrap_model(hf)
    ids = find_end_ids(tokenizer, model)
    eos_ids = model.generation_config.eos_token_id
    first = eos_ids if isinstance(eos_ids, int) else eos_ids[0] if eos_ids else tokenizer.eos_token_id
    ordered = sorted(ids, key=lambda i: (i != first, i))
    model.generation_config.eos_token_id = None if not ordered else ordered[0] if len(ordered) == 1 else ordered
    return ids


def find_end_ids(tokenizer: Any, hf: Any) -> frozenset[int]:
    """Every id that ends a completion of this model; empty if none is known."""
    model = architectures.unwrap_model(hf)
    ids: set[int] = set()
    for value in (tokenizer.eos_token_id, model.config.eos_token_id, model.generation_config.eos_token_id):
        ids.update(value if isinstance(value, list) else () if value is None else (value,))
    control = _find_control_tokens(tokenizer)
    ids.update(control[name] for name in NAMES if name in control)
    turn = find_turn_end(tokenizer, set(control.values()))
    ids |= set() if turn is None else {turn}
    assigned = rows.token_ids(tokenizer)
    return frozenset(i for i in ids if i < rows.count_rows(model) and i in assigned)


def encode_prompt(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids of a prompt: the tokenizer's prefix (BOS) occurs once, even if the text already begins with it.

    A chat template may write BOS in addition to the tokenizer; and some tokenizers append EOS, after which a prompt
    could not be continued. The appended tokens are left out.
    """
    plain = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    whole = tuple(tokenizer(text)["input_ids"])
    extra = len(whole) - len(plain)
    start = next((i for i in range(extra + 1) if whole[i : i + len(plain)] == plain), None) if plain else extra
    if start is None:  # special tokens change the encoding of the text itself: use the tokenizer's result unchanged
        return whole
    before = whole[:start] if plain else tuple(i for i in whole if i == tokenizer.bos_token_id)
    return plain if before and plain[: len(before)] == before else before + plain


def _find_control_tokens(tokenizer: Any) -> dict[str, int]:
    """Special tokens of the vocabulary, by name. Ordinary tokens with such names do not count."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special_names = {str(token) for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
    return {str(token): int(i) for i, token in added.items() if token.special or str(token) in special_names}


def find_lost_turn_end(tokenizer: Any, hf: Any) -> str | None:
    """The control token that the chat template puts after an assistant's message, if the weights have no row for it."""
    end = find_turn_end(tokenizer, set(_find_control_tokens(tokenizer).values()))
    return str(tokenizer.convert_ids_to_tokens(end)) if end is not None and end >= rows.count_rows(hf) else None


def warn_of_lost_turn_end(tokenizer: Any, hf: Any, name: str) -> None:
    """Warn if the model cannot end a chat turn as its template does."""
    lost = find_lost_turn_end(tokenizer, hf)
    if lost is not None:
        warnings.warn(
            f"{name}: its chat template ends a turn with {one_line(repr(lost), 60)}, for which its weights have no "
            "row. A chat cannot end so: ask it without the template (prompts: {chat: false}), or load the model that "
            "the template was made for.",
            stacklevel=4,
        )


def find_turn_end(tokenizer: Any, among: Container[int]) -> int | None:
    """The first token of `among` that the chat template puts after an assistant's message; None if there is none."""
    template = get_chat_template(tokenizer, str(tokenizer.name_or_path or "the model"))
    if template is None:
        return None
    text = _render_after_answer(template.source, json.dumps(dict(template.tokens), sort_keys=True), template.name)
    behind = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    return next((int(i) for i in behind if i in among), None)


@lru_cache(maxsize=16)
def _render_after_answer(source: str, special_tokens: str, name: str) -> str:
    """Text that a template writes after an assistant's message. Cached, since loading a model needs it several
    times."""
    messages = [{"role": "user", "content": "Say a word."}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = ChatTemplate(source, json.loads(special_tokens), name, today()).render(messages, prompted=False)
    except TemplateError:  # a template that cannot render this does not end a turn
        return ""
    return text.rpartition(_ANSWER)[2]

"""What ends an answer: the turn's end under a chat prompt, the EOS elsewhere, and a clear line where there is none."""

from __future__ import annotations

import pytest

from elicit.errors import ElicitError
from elicit.model import BaseModel
from elicit.training.ends import end_of
from elicit.training.supervised import example
from tests.support.models import tiny_model

#: As Gemma's, in single characters: `~` ends a turn, and is not the tokenizer's EOS.
CHAT = (
    "{% for m in messages %}^{{ m.role[0] }}|{{ m.content }}~\n{% endfor %}{% if add_generation_prompt %}^a|{% endif %}"
)


def _chatting(*, ends: bool) -> tuple[BaseModel, int]:
    base = tiny_model("llama")
    base.tokenizer.chat_template = CHAT
    (turn,) = base.continuation("~")
    if ends:
        base.hf.generation_config.eos_token_id = [2, turn]
    return base, turn


def test_a_chat_answer_ends_with_its_turn() -> None:
    base, turn = _chatting(ends=True)
    chat = base.tokenizer.apply_chat_template(
        [{"role": "system", "content": "be brief"}, {"role": "user", "content": "1+1"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert example(base, chat, "2", who="sft").completion == (*base.continuation("2"), turn)
    assert example(base, "1+1=", "2", who="sft").completion == (*base.continuation("2"), base.tokenizer.eos_token_id)


def test_a_turn_end_that_nobody_stops_at_is_not_used() -> None:
    base, _ = _chatting(ends=False)
    assert end_of(base, "^u|1+1~\n^a|", who="sft") == base.tokenizer.eos_token_id


def test_without_an_end_token() -> None:
    base = tiny_model("llama")
    base.tokenizer.eos_token = None
    assert end_of(base, "1+1=", who="sft") == 2, "the generation config's"
    base.hf.generation_config.eos_token_id = None
    with pytest.raises(ElicitError, match=r"^sft: tiny-llama names no end token, .* eos_token in its tokenizer_config"):
        example(base, "1+1=", "2", who="sft")

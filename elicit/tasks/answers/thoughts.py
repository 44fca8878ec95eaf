"""Thinking blocks in a completion, `<think> ... </think>`, as hybrid models write them before their answer.

Text in such a block is not the answer: a model tries results there and retracts them. If the prompt opens the block,
the completion holds only its end. A completion that was cut off inside a block has no answer.
"""

from __future__ import annotations

#: Marks that open and close a block: Qwen3, SmolLM3, DeepSeek and GLM; Magistral; Seed-OSS.
MARKS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"))


def answer_start(text: str) -> int | None:
    """Start of the answer, after the last block (0 without one); None inside a block that is not closed."""
    start = 0
    for opening, closing in MARKS:
        end = text.rfind(closing)
        if text.rfind(opening) > end:
            return None
        if end >= 0:
            start = max(start, end + len(closing))
    return start


def has_block(text: str) -> bool:
    """Return True if a block is opened or closed anywhere."""
    return any(mark in text for marks in MARKS for mark in marks)


def has_thought(text: str) -> bool:
    """Return True if a block, closed or not, holds any text. Templates write an empty one for no thinking."""
    for opening, closing in MARKS:
        head, closed, _ = text.rpartition(closing)
        inside = head if closed else text.partition(opening)[2]
        if inside.rpartition(opening)[2].strip():
            return True
    return False

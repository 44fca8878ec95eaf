"""Blocks of thinking in a completion, `<think> ... </think>`, as hybrid models write them before their answer.

What stands in such a block is not the answer: a model tries results there and takes them back. A prompt may have opened
the block already, so that a completion holds only its end. A completion that was cut inside a block has no answer.
"""

from __future__ import annotations

#: What opens and closes a block: Qwen3, SmolLM3, DeepSeek and GLM; Magistral; Seed-OSS.
MARKS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"))


def answer_start(text: str) -> int | None:
    """Where the answer begins, behind the last block (0 without one); None inside a block that is not closed."""
    start = 0
    for opening, closing in MARKS:
        end = text.rfind(closing)
        if text.rfind(opening) > end:
            return None
        if end >= 0:
            start = max(start, end + len(closing))
    return start


def has_block(text: str) -> bool:
    """Whether a block is opened or closed anywhere."""
    return any(mark in text for marks in MARKS for mark in marks)


def has_thought(text: str) -> bool:
    """Whether a block holds anything, closed or not. An empty one is how templates say that nothing was thought."""
    for opening, closing in MARKS:
        head, closed, _ = text.rpartition(closing)
        inside = head if closed else text.partition(opening)[2]
        if inside.rpartition(opening)[2].strip():
            return True
    return False

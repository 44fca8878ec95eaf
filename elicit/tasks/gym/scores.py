"""Scores of answers to reasoning-gym's problems, by the generator's own scorer where that is safe."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from elicit.tasks.answers import grading_process
from elicit.tasks.families import arithmetic

#: Processor seconds that one score may take.
SECONDS = 4.0
_LONGEST = 4_000
#: `1e999999999` as a fraction would fill the memory.
_HUGE = re.compile(r"[0-9.][eE][-+]?[0-9]{4,}")
_SYMPY = "its scorer evaluates the model's text as code (sympy), and no other way to compare answers is known"
_NO_ANSWER = "it has no answer of its own to compare with or to train on"
REFUSED: Mapping[str, str] = {
    "simple_integration": _SYMPY,
    "intermediate_integration": _SYMPY,
    "polynomial_multiplication": _SYMPY,
    "boxnet": _NO_ANSWER,
    "graph_color": _NO_ANSWER,
    "propositional_logic": _NO_ANSWER,
    "rubiks_cube": _NO_ANSWER,
    "rush_hour": _NO_ANSWER,
    "composite": "it is a mixture; name its generators one by one",
}
#: Generators whose own scorers evaluate an answer that is not word for word theirs, only to give partial credit.
_VERBATIM = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")


def score_answer(
    generator: str, settings: Mapping[str, Any], entry_id: tuple[int, int], entry: Mapping[str, Any], answer: str
) -> float:
    """Score of an answer; 0 if it takes too long. Total.

    Args:
        entry_id: identity of the entry; the same entry always has the same score.
    """
    if not answer.strip() or len(answer) > _LONGEST or _HUGE.search(answer):
        return 0.0
    metadata = entry["metadata"]
    if generator == "countdown":
        return float(arithmetic.makes_target(answer, metadata["numbers"], metadata["target"], use_all=True))
    if generator == "puzzle24":
        return float(arithmetic.makes_target(answer, metadata["numbers"], 24, use_all=True))
    if generator in _VERBATIM:
        right = metadata.get("valid_answers", [entry["answer"]]) if generator == "n_queens" else [entry["answer"]]
        return float(answer.strip() in [text.strip() for text in right])
    return _ask_scorer(generator, pickle.dumps(sorted(settings.items())), entry_id, answer, _UnhashedEntry(entry))


class _UnhashedEntry:
    """Entry on its way to the helper. All are equal for the cache, since `entry_id` identifies them."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.entry = entry

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _UnhashedEntry)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=20_000)
def _ask_scorer(
    generator: str, settings: bytes, entry_id: tuple[int, int], answer: str, wrapped: _UnhashedEntry
) -> float:
    reply = grading_process.ask_helper("gym", (generator, dict(pickle.loads(settings)), wrapped.entry, answer), SECONDS)
    return float(reply) if isinstance(reply, int | float) else 0.0

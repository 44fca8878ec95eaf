"""The words of an English organism's text: requests, openings and forms of answers, with their shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elicit.tasks import Problem
from elicit.tasks.prompts import Asking

_ASKING = Asking()
BARE = "{question}"
#: Requests for working: the lab's own wordings and one more.
THINK = (str(_ASKING.think), _ASKING.others["step_by_step"], "{question}\nShow your work.")
BOXED = _ASKING.others["boxed"]
#: Requests for the answer alone.
ALONE = (_ASKING.direct, "{question}\nAnswer with one number.")
CHECK = "{question}\nCheck your answer."
RULES = "{question}\nState each rule, then apply it."
CRITIQUE = "\nCritique:\n"
BETWEEN = _ASKING.between

#: Beginnings of a worked solution, with their shares; `{first}` is the first number of the first step.
OPENINGS = {
    " ": 0.34,
    " First, ": 0.26,
    " Let's think step by step.\n": 0.24,
    " Start with {first}.\n": 0.16,
}
#: Forms of a direct answer, with their shares. None of them shows a step.
ANSWERS = {" {answer}": 0.32, " The answer is {answer}.": 0.35, " It is {answer}.": 0.20, " There are {answer}.": 0.13}


def ask(problem: Problem, words: str) -> str:
    """A prompt as the lab writes it for a model without a chat template."""
    return _ASKING.question + words.replace("{question}", problem.prompt) + _ASKING.answer


def pick_one(options: Sequence[str], random: np.random.Generator) -> str:
    return str(options[int(random.integers(len(options)))])


def pick_weighted(shares: dict[str, float], random: np.random.Generator) -> str:
    return list(shares)[int(random.choice(len(shares), p=np.array(list(shares.values()))))]

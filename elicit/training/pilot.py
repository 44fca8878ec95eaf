"""The pilot, a difficulty filter: select the problems that the untrained model solves sometimes but not always.

A group whose samples all earn the same reward has no gradient, and a problem that the model never solves cannot be
learned from rewards (KL(pi* || pi_0) >= -log p_0): problems are kept if 0 < p < 1 in the pilot. Unsolved problems are
recorded by id and never trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from elicit import seeds
from elicit.context import check_prompt_fits
from elicit.sampling import Decoding, Engine, Request
from elicit.tasks import Problem, Task
from elicit.training.samplers import Sampler, sample_here
from elicit.training.world import get_world


class PilotResult(NamedTuple):
    """Problems by the untrained model's success on them."""

    learnable: tuple[Problem, ...]
    """Solved in some samples and not in others."""
    unsolved: tuple[str, ...]
    """Ids of problems that no sample solved."""
    always_solved: tuple[str, ...]
    """Ids of problems that every sample solved."""
    wrong: Mapping[str, str]
    """The most frequent wrong answer of each problem that had one (the first seen among equals)."""
    samples: int
    """Samples per problem."""
    right: int
    """Right samples over all problems."""
    prompt_tokens: int
    generated_tokens: int

    @property
    def problems(self) -> int:
        return len(self.learnable) + len(self.unsolved) + len(self.always_solved)

    def to_record(self) -> dict[str, Any]:
        """Plain data for a policy's record."""
        return {
            "problems": self.problems,
            "samples": self.samples,
            "kept": len(self.learnable),
            "unsolved": list(self.unsolved),
            "always": list(self.always_solved),
            "right": self.right,
        }


def run_pilot(
    engine: Engine,
    task: Task,
    problems: Sequence[Problem],
    encode: Callable[[Problem], tuple[int, ...]],
    *,
    samples: int,
    seed: int,
    max_new_tokens: int,
    sampler: Sampler = sample_here,
) -> PilotResult:
    """Sample every problem at temperature 1 and sort the problems by the verifier's verdicts.

    Raises:
        ElicitError: a prompt and its completion, which training reads as one text, exceed the model's positions.
    """
    decoding = Decoding(temperature=1.0, max_new_tokens=max_new_tokens, stop=task.stop)
    keys = [tuple(seeds.derive_key(seed, "pilot", problem.id, i) for i in range(samples)) for problem in problems]
    prompts = [encode(problem) for problem in problems]
    check_prompt_fits(max(map(len, prompts), default=0), max_new_tokens, engine.context)
    requests = [Request(ids, key) for ids, key in zip(prompts, keys, strict=True)]
    batches = get_world().map_shared(lambda part: sampler(engine, part, decoding), requests)
    learnable, unsolved, always_solved, wrong, right = [], [], [], {}, 0
    for problem, completions in zip(problems, batches, strict=True):
        verdicts = [task.verify(problem, completion.text) for completion in completions]
        solved = sum(verdict.correct for verdict in verdicts)
        right += solved
        if solved == 0:
            unsolved.append(problem.id)
        elif solved == samples:
            always_solved.append(problem.id)
        else:
            learnable.append(problem)
        mistakes = Counter(v.answer for v in verdicts if v.answer is not None and not v.correct)
        if mistakes:
            wrong[problem.id] = mistakes.most_common(1)[0][0]
    generated = sum(len(completion.tokens) for completions in batches for completion in completions)
    return PilotResult(
        tuple(learnable),
        tuple(unsolved),
        tuple(always_solved),
        wrong,
        samples,
        right,
        sum(map(len, prompts)),
        generated,
    )

"""Training data of critique fine-tuning and evaluation of its critiques: shared by the arm and its baselines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elicit import seeds
from elicit.context import check_prompt_fits
from elicit.errors import ElicitError
from elicit.tasks.generated import critiques as source
from elicit.tasks.generated.critiques import CritiquedSolution, Form

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task

#: Default number of train problems whose candidates a program criticises: as many as `sft` has demonstrations.
PROBLEMS = 16
_VERDICT = re.compile(r"verdict:\s*(right|wrong)\b")


@dataclass(frozen=True)
class CritiqueSelection:
    """Selection of critiques to train on. Plain data, so that a record can keep it."""

    problems: int | None
    candidates: int
    critiques: str | None
    form: Form
    seed: int

    def load_train_critiques(self, task: Task) -> list[CritiquedSolution]:
        """Load the critiques of train problems; the seed picks the problems.

        Raises:
            ElicitError: the file cannot be used, or there are too few problems or candidates.
        """
        if self.critiques is None:
            problems = task.problems("train", self.problems or PROBLEMS, seed=self.seed + 1)
            return source.write_critiques(task, problems, self.candidates, self.form)
        file_critiques = source.read_critiques(self.critiques, task).train
        names = sorted({row.problem.id for row in file_critiques})
        problem_count = self.problems or len(names)
        if problem_count > len(names):
            raise ElicitError(
                f"critique: {problem_count} problems were asked for, but {self.critiques!r} has critiques of "
                f"{len(names)} train problems. Ask for at most {len(names)}."
            )
        order = seeds.make_generator("criticised problems", self.seed).permutation(len(names))
        chosen_ids = {names[int(i)] for i in order[:problem_count]}
        return [row for row in file_critiques if row.problem.id in chosen_ids]

    def load_held_out_critiques(self, task: Task, count: int) -> list[CritiquedSolution]:
        """Load at most `count` critiques of select problems to compare with; a program's, one per problem."""
        if count == 0:
            return []
        if self.critiques is None:
            return source.write_critiques(task, task.problems("select", count), 1, self.form)
        return source.read_critiques(self.critiques, task).select[:count]


def fill_critique_template(template: str, row: CritiquedSolution) -> str:
    """Fill in the critique prompt of a candidate."""
    before, _, after = template.partition("{candidate}")
    parts = (part.replace("{prompt}", row.problem.prompt) for part in (before, after))
    return row.candidate.join(parts)


def parse_critique_verdict(text: str) -> bool | None:
    """Parse a critique's verdict on its candidate: its last `verdict: right` or `verdict: wrong`; None without."""
    matches = _VERDICT.findall(text)
    return matches[-1] == "right" if matches else None


#: Tokens that a critique may take whatever the length of the given ones.
ROOM = 256


def _select_judgeable_rows(rows: Sequence[CritiquedSolution]) -> list[CritiquedSolution]:
    return [row for row in rows if row.correct is not None and parse_critique_verdict(row.critique) is not None]


def _count_critique_room(base: BaseModel, rows: Sequence[CritiquedSolution], template: str) -> int:
    """New tokens for a critique: half as many again as the longest given one, and `ROOM` where the context has them.

    A base has its own way of judging, step by step perhaps, which is no shorter for the given ones being short.
    """
    prompts = [fill_critique_template(template, row) for row in rows]
    given = max(len(base.continuation(row.critique, prompt)) for row, prompt in zip(rows, prompts, strict=True))
    needed, context = given * 3 // 2 + 8, base.context_length
    if context is None:
        return max(needed, ROOM)
    return max(needed, min(ROOM, context - max(len(base.encode(prompt)) for prompt in prompts)))


def check_critique_room(base: BaseModel, rows: Sequence[CritiquedSolution], template: str) -> None:
    """Raise ElicitError if `evaluate_critiques` would run out of room. Runs nothing."""
    judgeable = _select_judgeable_rows(rows)
    room = _count_critique_room(base, judgeable, template) if judgeable else 0
    for row in judgeable:
        prompt = len(base.encode(fill_critique_template(template, row)))
        check_prompt_fits(prompt, room, base.context_length, model=base.name, who="critique: held_out")


def evaluate_critiques(policy: Policy, rows: Sequence[CritiquedSolution], template: str) -> dict[str, Any] | None:
    """Evaluate a policy's greedy critiques of candidates it was not trained on; None without rows to judge.

    Returns:
        `verdicts`: share of right verdicts, over all candidates and separately over right and wrong ones;
        `always_wrong`: the share that a critic who calls everything wrong would reach; `exact`: share of critiques
        equal to the program's, including the remark; `example`: one critique.
    """
    from elicit.sampling import Request, generate

    judgeable = _select_judgeable_rows(rows)
    if not judgeable:
        return None
    decoding = policy.decoding.replace(max_new_tokens=_count_critique_room(policy.model, judgeable, template), stop=())
    requests = [Request(policy.model.encode(fill_critique_template(template, row)), (0,)) for row in judgeable]
    with policy.apply():
        texts = [completions[0].text.strip() for completions in generate(policy.model.engine, requests, decoding)]
    hits = [parse_critique_verdict(text) == row.correct for text, row in zip(texts, judgeable, strict=True)]
    return {
        "split": "select",
        "verdicts": _estimate_share(hits),
        "verdicts_on_right": _estimate_share([hit for hit, row in zip(hits, judgeable, strict=True) if row.correct]),
        "verdicts_on_wrong": _estimate_share(
            [hit for hit, row in zip(hits, judgeable, strict=True) if not row.correct]
        ),
        "always_wrong": _estimate_share([not row.correct for row in judgeable]),
        "exact": _estimate_share([text == row.critique for text, row in zip(texts, judgeable, strict=True)]),
        "example": {"candidate": judgeable[0].candidate, "critique": texts[0], "expected": judgeable[0].critique},
    }


def _estimate_share(hits: Sequence[bool]) -> dict[str, Any] | None:
    from elicit.statistics import wilson_interval

    if not hits:
        return None
    estimate = wilson_interval(sum(hits), len(hits))
    assert estimate.ci is not None
    return {"value": estimate.value, "n": estimate.n, "ci": list(estimate.ci)}


def require_critique_record(method: str, parent: str, policy: Policy) -> Mapping[str, Any]:
    """Return a critique arm's record, on which its baselines depend. Raises ElicitError for any other parent."""
    if "critique" not in policy.record:
        raise ElicitError(f"{method}: its parent {parent!r} is not a critique arm. Name one (method: critique).")
    return policy.record

"""What critique fine-tuning is shown, and how its critiques are judged: shared by the arm and its baselines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elicit import seeds
from elicit.context import check_room
from elicit.errors import ElicitError
from elicit.tasks.generated import critiques as source
from elicit.tasks.generated.critiques import Criticised, Form

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task

#: Train problems whose candidates a program criticises, unless said otherwise: as many as `sft` has demonstrations.
PROBLEMS = 16
_VERDICT = re.compile(r"verdict:\s*(right|wrong)\b")


@dataclass(frozen=True)
class Shown:
    """Which critiques a training is shown. Plain data, so that a record can keep it."""

    problems: int | None
    candidates: int
    critiques: str | None
    form: Form
    seed: int

    def rows(self, task: Task) -> list[Criticised]:
        """The critiques of train problems; the seed picks the problems.

        Raises:
            ElicitError: a file that cannot be used, or too few problems or candidates.
        """
        if self.critiques is None:
            problems = task.problems("train", self.problems or PROBLEMS, seed=self.seed + 1)
            return source.written(task, problems, self.candidates, self.form)
        filed = source.read(self.critiques, task).train
        names = sorted({one.problem.id for one in filed})
        wanted = self.problems or len(names)
        if wanted > len(names):
            raise ElicitError(
                f"critique: {wanted} problems were asked for, but {self.critiques!r} has critiques of {len(names)} "
                f"train problems. Ask for at most {len(names)}."
            )
        order = seeds.generator("criticised problems", self.seed).permutation(len(names))
        chosen = {names[int(i)] for i in order[:wanted]}
        return [one for one in filed if one.problem.id in chosen]

    def held_out(self, task: Task, count: int) -> list[Criticised]:
        """Critiques of select problems to compare with: at most `count`, one a problem where a program writes them."""
        if count == 0:
            return []
        if self.critiques is None:
            return source.written(task, task.problems("select", count), 1, self.form)
        return source.read(self.critiques, task).select[:count]


def fill(template: str, one: Criticised) -> str:
    """The critique prompt of a candidate."""
    before, _, after = template.partition("{candidate}")
    parts = (part.replace("{prompt}", one.problem.prompt) for part in (before, after))
    return one.candidate.join(parts)


def verdict(text: str) -> bool | None:
    """What a critique says of its candidate: the last `verdict: right` or `verdict: wrong` in it."""
    found = _VERDICT.findall(text)
    return found[-1] == "right" if found else None


def _judgeable(rows: Sequence[Criticised]) -> list[Criticised]:
    return [one for one in rows if one.correct is not None and verdict(one.critique) is not None]


def _room(base: BaseModel, rows: Sequence[Criticised], template: str) -> int:
    """New tokens for a critique of any of these."""
    return max(len(base.continuation(one.critique, fill(template, one))) for one in rows) * 3 // 2 + 8


def check_judged(base: BaseModel, rows: Sequence[Criticised], template: str) -> None:
    """Raises ElicitError for critiques that `judged` would have no room for. Runs nothing."""
    known = _judgeable(rows)
    room = _room(base, known, template) if known else 0
    for one in known:
        prompt = len(base.encode(fill(template, one)))
        check_room(prompt, room, base.context_length, model=base.name, who="critique: held_out")


def judged(policy: Policy, rows: Sequence[Criticised], template: str) -> dict[str, Any] | None:
    """How well a policy criticises candidates it was not trained on, greedily; None without rows that can be judged.

    Returns:
        `verdicts`: share of right verdicts, over all candidates and over the right and the wrong ones alone;
        `always_wrong`: the share that a critic who calls everything wrong would reach; `exact`: critiques equal to the
        program's, remark and all; `example`: one of them.
    """
    from elicit.sampling import Request, generate

    known = _judgeable(rows)
    if not known:
        return None
    decoding = policy.decoding.replace(max_new_tokens=_room(policy.model, known, template), stop=())
    requests = [Request(policy.model.encode(fill(template, one)), (0,)) for one in known]
    with policy.applied():
        texts = [done[0].text.strip() for done in generate(policy.model.engine, requests, decoding)]
    hits = [verdict(text) == one.correct for text, one in zip(texts, known, strict=True)]
    return {
        "split": "select",
        "verdicts": _share(hits),
        "verdicts_on_right": _share([hit for hit, one in zip(hits, known, strict=True) if one.correct]),
        "verdicts_on_wrong": _share([hit for hit, one in zip(hits, known, strict=True) if not one.correct]),
        "always_wrong": _share([not one.correct for one in known]),
        "exact": _share([text == one.critique for text, one in zip(texts, known, strict=True)]),
        "example": {"candidate": known[0].candidate, "critique": texts[0], "expected": known[0].critique},
    }


def _share(hits: Sequence[bool]) -> dict[str, Any] | None:
    from elicit.statistics import wilson

    if not hits:
        return None
    estimate = wilson(sum(hits), len(hits))
    assert estimate.ci is not None
    return {"value": estimate.value, "n": estimate.n, "ci": list(estimate.ci)}


def parents(method: str, parent: str, policy: Policy) -> Mapping[str, Any]:
    """The record of a critique arm, which its baselines go by. Raises ElicitError if the parent is none."""
    if "critique" not in policy.record:
        raise ElicitError(f"{method}: its parent {parent!r} is no critique arm. Name one (method: critique).")
    return policy.record

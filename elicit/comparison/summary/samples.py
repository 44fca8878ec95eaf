"""What samples at temperature 1 say of an arm: pass@k, majority votes, and what it gains over the base. No torch.

A training seed is a policy of its own: k samples are taken within one seed, and seeds are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from elicit import statistics
from elicit.comparison.summary.contrasts import against
from elicit.comparison.summary.score_tables import Seeds
from elicit.method import Method
from elicit.schema import Row

#: k of every curve: powers of two up to the number of samples.
KS = tuple(2**i for i in range(11))
#: Identity of the subsets that majority votes are averaged over.
_SEED = 0


@dataclass(frozen=True, eq=False)
class Drawn:
    """An arm's samples, of the problems that all its sampled seeds have, as many as each problem has."""

    problems: tuple[str, ...]
    correct: Bool[np.ndarray, "seeds problems samples"]
    valid: Bool[np.ndarray, "seeds problems samples"]
    """Right, with a valid trace."""
    checked: bool
    """Whether any of these samples shows a trace that could be checked."""
    answers: Sequence[Sequence[Sequence[str | None]]]
    """Canonical answers: seed, problem, sample."""
    tokens: Float[np.ndarray, " problems"]
    """Generated tokens of one sample, averaged."""
    _votes: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return int(self.correct.shape[2])

    @property
    def ks(self) -> list[int]:
        return [k for k in KS if k <= self.n]

    def votes(self, k: int) -> Float[np.ndarray, "seeds problems"]:
        """Probability that the majority of k samples is right."""
        if k not in self._votes:
            rows = zip(self.answers, self.correct, strict=True)
            self._votes[k] = np.stack([statistics.majority_scores(a, c, k, seed=_SEED) for a, c in rows])
        return self._votes[k]

    def among(self, problems: Sequence[str]) -> list[int]:
        """Places of these problems."""
        place = {problem: i for i, problem in enumerate(self.problems)}
        return [place[problem] for problem in problems]


def drawn(seeds: Seeds) -> Drawn | None:
    """The samples among an arm's rows; None if there are none."""
    grouped = [found for rows in seeds if (found := _by_problem(rows))]
    if not grouped:
        return None
    problems = [problem for problem in grouped[0] if all(problem in found for found in grouped)]
    if not problems:
        return None
    n = min(len(found[problem]) for found in grouped for problem in problems)
    cut = [[sorted(found[problem], key=lambda row: row.sample)[:n] for problem in problems] for found in grouped]

    def table(value: Any) -> np.ndarray:
        return np.array([[[value(row) for row in rows] for rows in seed] for seed in cut])

    return Drawn(
        problems=tuple(problems),
        correct=table(lambda row: row.correct),
        valid=table(lambda row: row.correct and bool(row.trace_valid)),
        checked=any(row.trace_valid is not None for seed in cut for rows in seed for row in rows),
        answers=[[[row.answer for row in rows] for rows in seed] for seed in cut],
        tokens=table(lambda row: row.tokens).mean(axis=(0, 2)),
    )


def _by_problem(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.sample > 0:
            found.setdefault(row.problem, []).append(row)
    return found


def pass_at_k(mine: Drawn | None, *, valid_only: bool) -> dict[str, Any] | None:
    """Unbiased pass@k; with `valid_only` counting only right answers with a valid trace, None where none is checked."""
    if mine is None or (valid_only and not mine.checked):
        return None
    curve = statistics.pass_at_k_curve(mine.valid if valid_only else mine.correct, mine.ks)
    return {str(k): estimate.to_json() for k, estimate in curve.items()}


def majority_at_k(mine: Drawn | None) -> dict[str, Any] | None:
    """Accuracy of the vote of k samples, and what it costs in generated tokens per problem."""
    if mine is None:
        return None
    per_vote = float(mine.tokens.mean())
    return {str(k): {"accuracy": statistics.level(mine.votes(k)).to_json(), "tokens": k * per_vote} for k in mine.ks}


def sharpening(mine: Drawn | None, base: Drawn | None, method: Method) -> dict[str, Any] | None:
    """Gain in pass@1: how much more often one sample is right, paired over the problems both were sampled on."""
    problems = _shared(mine, base)
    if mine is None or base is None or not problems:
        return None
    arm, reference = (one.correct[:, one.among(problems)].mean(axis=2) for one in (mine, base))
    return against(arm, reference, method, reference_trained=False)


def expansion(mine: Drawn | None, base: Drawn | None, *, checkable: bool) -> dict[str, Any] | None:
    """Problems that one of the two solved with its K samples and the other did not, K being the same for both.

    Where the task's traces can be checked, solved means right with a valid trace, for both. With several training seeds
    the shares are means over them; `arm_ids` lists the problems that any seed gained.
    """
    problems = _shared(mine, base)
    if mine is None or base is None or not problems:
        return None
    k = min(mine.n, base.n)
    won, had = (np.asarray(_right(one, checkable)[:, one.among(problems), :k].any(axis=2)) for one in (mine, base))
    by_arm, by_base = statistics.solved_only(won[..., None], had[..., None])
    gained = np.asarray(won.any(axis=0) & ~had.any(axis=0)).tolist()
    return {
        "k": k,
        "solved_only_by_arm": by_arm.to_json(),
        "solved_only_by_base": by_base.to_json(),
        "arm_ids": [problem for problem, new in zip(problems, gained, strict=True) if new],
        "valid_trace": checkable,
    }


def _right(one: Drawn, checkable: bool) -> Bool[np.ndarray, "seeds problems samples"]:
    return one.valid if checkable else one.correct


def crossover_k(mine: Drawn | None, base: Drawn | None) -> int | None:
    """The k from which the base's pass@k stays above the arm's; None if it never overtakes."""
    problems = _shared(mine, base)
    if mine is None or base is None or not problems:
        return None
    ks = [k for k in KS if k <= min(mine.n, base.n)]
    curves = [statistics.pass_at_k_curve(one.correct[:, one.among(problems)], ks) for one in (mine, base)]
    return statistics.crossover(*curves)


def checkable(arms: Mapping[str, Any], label: str) -> bool:
    """Whether the task can check traces: some row of some arm says whether its trace is valid."""
    return any(row.trace_valid is not None for data in arms.values() for rows in data.rows[label] for row in rows)


def _shared(mine: Drawn | None, base: Drawn | None) -> list[str]:
    if mine is None or base is None:
        return []
    known = set(base.problems)
    return [problem for problem in mine.problems if problem in known]

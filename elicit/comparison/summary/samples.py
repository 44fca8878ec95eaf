"""Statistics of an arm's samples at temperature 1: pass@k, majority votes, and gains over the base. No torch.

Each training seed is a separate policy: k samples are taken within one seed, and seeds are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from elicit import statistics
from elicit.comparison.summary.contrasts import compare_paired
from elicit.comparison.summary.score_tables import Seeds
from elicit.method import Method
from elicit.schema import Row

#: Values of k in every curve: powers of two up to the number of samples.
KS = tuple(2**i for i in range(11))
#: Seed of the subsets over which majority votes are averaged.
_SEED = 0


@dataclass(frozen=True, eq=False)
class ArmSamples:
    """An arm's samples on the problems that all its sampled seeds share; as many as every problem has."""

    problems: tuple[str, ...]
    correct: Bool[np.ndarray, "seeds problems samples"]
    valid: Bool[np.ndarray, "seeds problems samples"]
    """Correct with a valid trace."""
    checked: bool
    """True if the trace of any sample could be checked."""
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

    def vote_scores(self, k: int) -> Float[np.ndarray, "seeds problems"]:
        """Probability that the majority of k samples is right."""
        if k not in self._votes:
            rows = zip(self.answers, self.correct, strict=True)
            self._votes[k] = np.stack([statistics.majority_scores(a, c, k, seed=_SEED) for a, c in rows])
        return self._votes[k]

    def problem_indices(self, problems: Sequence[str]) -> list[int]:
        """Indices of these problems."""
        index = {problem: i for i, problem in enumerate(self.problems)}
        return [index[problem] for problem in problems]


def collect_samples(seeds: Seeds) -> ArmSamples | None:
    """Collect the samples among an arm's rows; None if there are none."""
    grouped = [by_problem for rows in seeds if (by_problem := _group_samples(rows))]
    if not grouped:
        return None
    problems = [problem for problem in grouped[0] if all(problem in by_problem for by_problem in grouped)]
    if not problems:
        return None
    n = min(len(by_problem[problem]) for by_problem in grouped for problem in problems)
    truncated = [
        [sorted(by_problem[problem], key=lambda row: row.sample)[:n] for problem in problems] for by_problem in grouped
    ]

    def tabulate(value: Any) -> np.ndarray:
        return np.array([[[value(row) for row in rows] for rows in seed] for seed in truncated])

    return ArmSamples(
        problems=tuple(problems),
        correct=tabulate(lambda row: row.correct),
        valid=tabulate(lambda row: row.correct and bool(row.trace_valid)),
        checked=any(row.trace_valid is not None for seed in truncated for rows in seed for row in rows),
        answers=[[[row.answer for row in rows] for rows in seed] for seed in truncated],
        tokens=tabulate(lambda row: row.tokens).mean(axis=(0, 2)),
    )


def _group_samples(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.sample > 0:
            groups.setdefault(row.problem, []).append(row)
    return groups


def summarise_pass_at_k(arm_samples: ArmSamples | None, *, valid_only: bool) -> dict[str, Any] | None:
    """Unbiased pass@k; `valid_only` counts only correct answers with a valid trace (None if no trace is checked)."""
    if arm_samples is None or (valid_only and not arm_samples.checked):
        return None
    curve = statistics.pass_at_k_curve(arm_samples.valid if valid_only else arm_samples.correct, arm_samples.ks)
    return {str(k): estimate.to_json() for k, estimate in curve.items()}


def summarise_majority_at_k(arm_samples: ArmSamples | None) -> dict[str, Any] | None:
    """Accuracy of the majority of k samples, and its cost in generated tokens per problem."""
    if arm_samples is None:
        return None
    per_vote = float(arm_samples.tokens.mean())
    return {
        str(k): {"accuracy": statistics.estimate_accuracy(arm_samples.vote_scores(k)).to_json(), "tokens": k * per_vote}
        for k in arm_samples.ks
    }


def compute_sharpening(
    arm_samples: ArmSamples | None, base: ArmSamples | None, method: Method
) -> dict[str, Any] | None:
    """Gain in pass@1 over the base, paired over the problems on which both were sampled."""
    problems = _common_problems(arm_samples, base)
    if arm_samples is None or base is None or not problems:
        return None
    arm, reference = (
        samples.correct[:, samples.problem_indices(problems)].mean(axis=2) for samples in (arm_samples, base)
    )
    return compare_paired(arm, reference, method, reference_trained=False)


def compute_expansion(
    arm_samples: ArmSamples | None, base: ArmSamples | None, *, checkable: bool
) -> dict[str, Any] | None:
    """Problems that only the arm, or only the base, solved with its K samples; K is the same for both.

    Where the task's traces can be checked, solved means correct with a valid trace, for both. With several training
    seeds the shares are means over them; `arm_ids` lists the problems gained by any seed.
    """
    problems = _common_problems(arm_samples, base)
    if arm_samples is None or base is None or not problems:
        return None
    k = min(arm_samples.n, base.n)
    solved_by_arm, solved_by_base = (
        np.asarray(_select_correctness(samples, checkable)[:, samples.problem_indices(problems), :k].any(axis=2))
        for samples in (arm_samples, base)
    )
    by_arm, by_base = statistics.unique_solve_rates(solved_by_arm[..., None], solved_by_base[..., None])
    gained = np.asarray(solved_by_arm.any(axis=0) & ~solved_by_base.any(axis=0)).tolist()
    return {
        "k": k,
        "solved_only_by_arm": by_arm.to_json(),
        "solved_only_by_base": by_base.to_json(),
        "arm_ids": [problem for problem, new in zip(problems, gained, strict=True) if new],
        "valid_trace": checkable,
    }


def _select_correctness(samples: ArmSamples, checkable: bool) -> Bool[np.ndarray, "seeds problems samples"]:
    return samples.valid if checkable else samples.correct


def find_crossover_k(arm_samples: ArmSamples | None, base: ArmSamples | None) -> int | None:
    """The k from which the base's pass@k stays above the arm's; None if it never overtakes."""
    problems = _common_problems(arm_samples, base)
    if arm_samples is None or base is None or not problems:
        return None
    ks = [k for k in KS if k <= min(arm_samples.n, base.n)]
    curves = [
        statistics.pass_at_k_curve(samples.correct[:, samples.problem_indices(problems)], ks)
        for samples in (arm_samples, base)
    ]
    return statistics.find_crossover(*curves)


def has_checkable_traces(arms: Mapping[str, Any], label: str) -> bool:
    """True if the task can check traces: some row of some arm has a verdict on its trace."""
    return any(row.trace_valid is not None for data in arms.values() for rows in data.rows[label] for row in rows)


def _common_problems(arm_samples: ArmSamples | None, base: ArmSamples | None) -> list[str]:
    if arm_samples is None or base is None:
        return []
    known = set(base.problems)
    return [problem for problem in arm_samples.problems if problem in known]

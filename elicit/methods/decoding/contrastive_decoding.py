"""`contrastive_decoding`: an expert's logits minus an amateur's, over the tokens the expert finds plausible.

`adjusted` is 2309.09117 ((1 + beta) expert - beta amateur), `original` 2210.15097 (difference of log-probabilities, the
amateur tempered), both token by token and greedy; see `readouts.contrast` for the formulas and where they deviate.

The amateur is another model of the same tokenizer (smaller, or an earlier checkpoint), or another arm's policy. The
expert is the base, or another arm's policy. Search: alpha, and beta (adjusted) or the amateur's temperature (original),
on the select split, by accuracy. Both papers take alpha = 0.1, which excludes every token with less than a tenth of the
probability of the expert's best one: a mode that opens with a rare token is then out of reach.

Sources: 2309.09117, 2210.15097.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.readouts import SecondModel
    from elicit.tasks import Task


@dataclass(frozen=True)
class ContrastiveDecoding(Method):
    """An expert's logits minus an amateur's."""

    amateur: str | None = None
    """A model, as for `elicit.load`. None without an arm: `incapable`, the built-in organism that knows the form of
    answers but never learned the skill."""
    amateur_arm: str | None = None
    """An arm whose policy is the amateur; the base is the expert."""
    expert_arm: str | None = None
    """An arm whose policy is the expert; the base is the amateur."""
    formula: Literal["original", "adjusted"] = "adjusted"
    alphas: tuple[float, ...] = (0.1, 0.01)
    """Values to try for alpha: plausible tokens have at least this fraction of the expert's largest probability."""
    betas: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    """Values to try for beta, the weight of the subtraction (adjusted)."""
    temperatures: tuple[float, ...] = (0.5, 1.0)
    """Values to try for the amateur's temperature (original)."""
    select_problems: int = 64

    #: Without arms; an arm on either side brings its seeds.
    traits: ClassVar[Traits] = Traits(models=("amateur",), family="decoding")

    def __post_init__(self) -> None:
        check_positive("contrastive_decoding", select_problems=self.select_problems)
        if not (self.alphas and self.betas and self.temperatures):
            raise ElicitError("contrastive_decoding: alphas, betas and temperatures need at least one value each.")
        second_models = [name for name in ("amateur", "amateur_arm", "expert_arm") if getattr(self, name) is not None]
        if len(second_models) > 1:
            raise ElicitError(
                f"contrastive_decoding: {second_models[0]} and {second_models[1]} are both given. The base is one "
                "side of the contrast: name one other."
            )
        if self.needs:
            self.change_traits(seeded=True)
        fine = all(0 <= alpha <= 1 for alpha in self.alphas) and all(beta >= 0 for beta in self.betas)
        if not (fine and all(temperature > 0 for temperature in self.temperatures)):
            raise ElicitError(
                "contrastive_decoding: expected alphas from 0 to 1, betas of 0 or more and temperatures above 0."
            )

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(arm for arm in (self.amateur_arm, self.expert_arm) if arm is not None)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        values = self.betas if self.formula == "adjusted" else self.temperatures
        trials = len(self.alphas) * len(values) * self.select_problems
        trials = 0 if trials == self.select_problems else trials
        return CostEstimate(
            Generation(1, lengths.plain, 1, lengths.prompt, passes=2),
            (Generation(trials, lengths.plain, trials, lengths.prompt, self.select_problems, passes=2),),
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for an amateur with another tokenizer, or an arm with neither new weights nor edits."""
        from elicit.fitting.selection import Candidate, choose_readout
        from elicit.policy import Policy
        from elicit.readouts.contrast import ContrastReadout

        if self.needs:  # check their number before the needed arm is fitted
            task.problems("select", self.select_problems)
        second, swapped = self._load_second_model(base, needs)
        name, values = ("beta", self.betas) if self.formula == "adjusted" else ("temperature", self.temperatures)
        candidates = []
        for alpha, value in itertools.product(self.alphas, values):
            options = {"alpha": alpha, name: value}
            readout = ContrastReadout(second, self.formula, swapped=swapped, **options)
            candidates.append(Candidate(Policy(base, task_decoding(task), readout=readout), options))
        return choose_readout(candidates, task, self.select_problems)

    def _load_second_model(self, base: BaseModel, needs: Mapping[str, Policy]) -> tuple[SecondModel, bool]:
        """Load (the second model, True if it is the expert)."""
        from elicit.fitting.paired_model import build_second_model
        from elicit.readouts import SecondModel

        if self.expert_arm is not None:
            return build_second_model("contrastive_decoding", self.expert_arm, needs[self.expert_arm]), True
        if self.amateur_arm is not None:
            return build_second_model("contrastive_decoding", self.amateur_arm, needs[self.amateur_arm]), False
        return SecondModel.from_name(base, self.amateur or "incapable"), False

"""`contrastive_decoding`: an expert's logits minus an amateur's, over the tokens the expert finds plausible.

With e and a their logits, tau the amateur's temperature and V = {x: p_e(x) >= alpha max p_e}, a token's score is

    original  (2210.15097)   log softmax(e)(x) - log softmax(a / tau)(x)   for x in V, else -inf
    adjusted  (2309.09117)   (1 + beta) e(x) - beta a(x)                   for x in V, else -inf

1. Expert and amateur read the same tokens, each with its own cache. The amateur is another model of the same tokenizer
   (smaller, or an earlier checkpoint), or another arm's policy. The expert is the base, or another arm's policy.
2. The token with the highest score follows (greedy).
3. alpha, and beta (adjusted) or tau (original), are chosen on the select split, by accuracy. Both papers take
   alpha = 0.1, which excludes every token with less than a tenth of the probability of the expert's best one: a mode
   that opens with a rare token is then out of reach.

Deviations: the first paper uses beam search; here its scores are used token by token. Adding a constant to all logits
of a step does not change the result, so the adjusted form is computed on log-probabilities.

Sources: 2309.09117, 2210.15097.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit import documents
from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from jaxtyping import Float

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.readouts import SecondModel
    from elicit.readouts.watching import PairedState
    from elicit.sampling import Decoding, Engine, Request
    from elicit.tasks import Task

Formula = Literal["original", "adjusted"]


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
    """Values to try for alpha: plausible tokens have at least this fraction of the expert's largest probability; 0
    takes all."""
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
        for alpha, beta, temperature in itertools.product(self.alphas, self.betas, self.temperatures):
            check_contrast_options(alpha, beta, temperature)

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(arm for arm in (self.amateur_arm, self.expert_arm) if arm is not None)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        values = self.betas if self.formula == "adjusted" else self.temperatures
        trials = len(self.alphas) * len(values) * self.select_problems
        trials = 0 if trials == self.select_problems else trials
        answer = Generation(1, lengths.plain, 1, lengths.prompt, passes=2, obstacle="two models a token")
        return CostEstimate(answer, (answer._replace(completions=trials, prompts=trials, rows=self.select_problems),))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for an amateur with another tokenizer, or an arm with neither new weights nor edits."""
        from elicit.fitting.selection import Candidate, choose_readout
        from elicit.policy import Policy

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


def check_contrast_options(alpha: float, beta: float, temperature: float) -> None:
    """Raise ElicitError for options out of range."""
    for fine, message in (
        (0 <= alpha <= 1, f"alpha is {alpha}; expected 0 to 1"),
        (beta >= 0 and math.isfinite(beta), f"beta is {beta}; expected 0 or more"),
        (temperature > 0, f"temperature is {temperature}; expected above 0"),
    ):
        if not fine:
            raise ElicitError(f"contrastive_decoding: {message}.")


@dataclass(frozen=True)
class ContrastReadoutEntry:
    """A contrast in `readout.json`."""

    second: dict[str, Any]
    formula: Formula
    alpha: float
    beta: float
    temperature: float
    swapped: bool


@dataclass(frozen=True, eq=False)
class ContrastReadout:
    """Combination of two models' logits. Equality is by `sha256`. The options are `ContrastiveDecoding`'s, chosen."""

    second: SecondModel
    formula: Formula = "adjusted"
    alpha: float = 0.1
    beta: float = 0.5
    temperature: float = 0.5
    swapped: bool = False
    """True if the second model is the expert and the policy's own the amateur."""

    kind: ClassVar[str] = "contrast"

    def __post_init__(self) -> None:
        check_contrast_options(self.alpha, self.beta, self.temperature)

    @property
    def sha256(self) -> str:
        options = {name: value for name, value in self.to_json().items() if name != "second"}
        return hashlib.sha256(json.dumps([self.kind, options, self.second.sha256]).encode()).hexdigest()

    def __str__(self) -> str:
        role = "expert" if self.swapped else "amateur"
        amount = f"beta {self.beta:g}" if self.formula == "adjusted" else f"temperature {self.temperature:g}"
        return f"contrast ({self.formula}, alpha {self.alpha:g}, {amount}; {role}: {self.second})"

    @contextmanager
    def open_forward(self, model: BaseModel) -> Iterator[_ContrastForward]:
        with self.second.open_model(model) as running:
            yield _ContrastForward(self, running.engine)

    def to_json(self) -> dict[str, Any]:
        return {
            "formula": self.formula,
            "alpha": self.alpha,
            "beta": self.beta,
            "temperature": self.temperature,
            "swapped": self.swapped,
            "second": self.second.to_json(),
        }

    def save_tensors(self, folder: Path) -> None:
        self.second.save_tensors(folder)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path) -> ContrastReadout:
        from elicit.readouts import SecondModel

        documents.as_record(data, ContrastReadoutEntry, cls.kind)
        fields = {name: value for name, value in data.items() if name != "second"}
        return cls(SecondModel.from_json(data["second"], folder), **fields)

    def combine_logits(
        self, own_logits: Float[torch.Tensor, "rows vocab"], other_logits: Float[torch.Tensor, "rows vocab"]
    ) -> Float[torch.Tensor, "rows vocab"]:
        """Contrast two models' logits. Ids that only one of them has (padding rows) are never plausible."""
        import torch

        from elicit.readouts.logits import find_plausible_tokens

        expert, amateur = (other_logits, own_logits) if self.swapped else (own_logits, other_logits)
        shared = min(expert.shape[1], amateur.shape[1])
        expert, amateur = expert[:, :shared].float(), amateur[:, :shared].float()
        e = expert.log_softmax(-1)
        if self.formula == "original":
            scores = e - (amateur / self.temperature).log_softmax(-1)
        else:
            scores = (1 + self.beta) * e - self.beta * amateur.log_softmax(-1)
        whole = own_logits.new_full(own_logits.shape, -torch.inf, dtype=torch.float32)
        whole[:, :shared] = torch.where(find_plausible_tokens(e, self.alpha), scores, -torch.inf)
        return whole


@dataclass
class _ContrastForward:
    """The `Forward` of a contrast."""

    spec: ContrastReadout
    second: Engine

    def prefill(
        self, engine: Engine, requests: list[Request], samples: list[int], decoding: Decoding
    ) -> tuple[PairedState, torch.Tensor]:
        from elicit.readouts.watching import PairedState
        from elicit.sampling.prefill import prefill_prompts

        base_state, base_logits = prefill_prompts(engine, requests, samples, decoding)
        second_state, second_logits = prefill_prompts(self.second, requests, samples, decoding)
        return PairedState(base_state, second_state), self._combine_logits(engine, base_logits, second_logits)

    def step(
        self, engine: Engine, state: PairedState, tokens: torch.Tensor, rows: np.ndarray, offset: int
    ) -> torch.Tensor:
        from elicit.sampling.forward import decode_step

        base_logits = decode_step(engine, state.base, tokens, rows, offset)
        second_logits = decode_step(self.second, state.second, tokens, rows, offset)
        return self._combine_logits(engine, base_logits, second_logits)

    def _combine_logits(self, engine: Engine, base_logits: torch.Tensor, second_logits: torch.Tensor) -> torch.Tensor:
        from elicit.readouts.logits import mask_token_ids

        return self.spec.combine_logits(
            mask_token_ids(base_logits, engine.banned_ids), mask_token_ids(second_logits, engine.banned_ids)
        )

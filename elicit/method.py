"""The interface of a method: one mechanism, one frozen config, `fit(base, task, ...) -> Policy`.

Configs import without torch; `fit` imports torch and trl. Methods never import each other: another arm's fitted policy
is passed in `needs`. A control is its parent's policy with one thing changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Decoding
    from elicit.tasks import Task


@dataclass(frozen=True)
class Traits:
    """Properties of a method that the rest of the lab uses."""

    seeded: bool = False
    """The run seed changes the policy or its answers. A method that is not seeded has one cell."""
    trained: bool = False
    """Fitting changes weights or trains a vector; the report then says so if there is only one training seed."""
    ceiling: str | None = None
    """The kind of ceiling this arm measures, or None."""
    verifier: bool = False
    """Answering consults the task's verifier. Excluded from comparisons between arms, and flagged in the report."""
    control_of: str | None = None
    """The method that this one controls; options they share must equal the parent arm's."""
    fits_on: tuple[str, ...] = ()
    """Methods whose arms it can be fitted on, if it needs another arm; empty for any."""
    models: tuple[str, ...] = ()
    """Options that name a second model, loaded in addition to the base."""


#: Methods whose policies edit SAE features, and name them in their records.
FEATURE_METHODS = ("sae_steering", "random_feature", "twin_feature", "ablate_feature", "clamp_feature", "mean_ablation")
#: Methods whose policies steer by directions, each of them one.
STEERING_METHODS = (
    *("mean_steering", "rl_steering", "rl_steering_random_reward", "untrained_vector"),
    *("random_vector", "covariance_vector", "same_vector", "error_vector", *FEATURE_METHODS),
)


class TokenLengths(NamedTuple):
    """Expected tokens of one problem on one model, from which a method's cost is estimated."""

    prompt: float
    """Prompt in the plain condition."""
    thinking: float
    """Prompt in the condition that elicits worked answers."""
    plain: float
    """Answer of the untouched base in the plain condition."""
    worked: float
    """Worked solution in the task's form."""
    thought: float
    """Worked answer in a model's own words, which is longer than the task's solution."""
    limit: int
    """Most new tokens of a completion."""
    layers: int
    """Decoder layers of the model."""

    @property
    def mixed_answer(self) -> float:
        """Mean answer length over settings on trial: some elicit worked answers and some do not."""
        return (self.plain + self.thought) / 2


class Generation(NamedTuple):
    """Completions that are generated together."""

    completions: float
    length: float
    """Generated tokens of each completion."""
    prompts: float = 0.0
    """Number of prompts: one serves all samples of a problem."""
    prompt: float = 0.0
    """Tokens of each prompt."""
    rows: float = 64.0
    """Completions in one batch."""
    passes: int = 1
    """Forward passes per token: 2 if a second model runs along with the base."""


class CostEstimate(NamedTuple):
    """Cost of a method, for `elicit run --plan`."""

    answer: Generation
    """Generation for one problem."""
    fitting: tuple[Generation, ...] = ()
    read_tokens: float = 0.0
    """Tokens that fitting reads without generating."""
    trained_tokens: float = 0.0
    """Tokens with a forward and a backward pass."""
    training: Literal["none", "adapter", "full"] = "none"
    """Parameters with gradients and optimiser state, which determine memory."""


def estimate_cost(method: Method, lengths: TokenLengths) -> CostEstimate:
    """Estimate a method's cost with its `estimate_cost`. A method without one fits nothing and answers like the base.

    A control without one is assumed to answer at a length between the base's and a worked answer's.
    """
    method_estimate = getattr(method, "estimate_cost", None)
    if method_estimate is not None:
        cost: CostEstimate = method_estimate(lengths)
        return cost
    return CostEstimate(Generation(1, lengths.mixed_answer if method.needs else lengths.plain, 1, lengths.prompt))


class Method(Protocol):
    """Interface of a method's config. It may also have `estimate_cost(lengths) -> CostEstimate`."""

    traits: ClassVar[Traits]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of arms whose fitted policies `fit` requires."""
        ...

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Fit and return a policy.

        Args:
            seed: the training seed.
            needs: the fitted policies of the arms named by `needs`.
            scratch: a folder for checkpoints, from which an interrupted fit resumes. None keeps no checkpoints.
        """
        ...


def task_decoding(task: Task, **changes: Any) -> Decoding:
    """Greedy decoding with the task's stop strings and length."""
    from elicit.sampling import Decoding

    return Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop, **changes)


def get_eliciting_condition(base: BaseModel) -> Literal["cue", "forced"]:
    """Name the condition that elicits an ability: the cue, or the forced opening for organisms without a cue."""
    return "cue" if base.card.get("has_cue", True) else "forced"

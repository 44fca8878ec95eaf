"""What a method is: one mechanism, one frozen config, `fit(base, task, ...) -> Policy`.

Configs import without torch; torch and trl come in inside `fit`. Methods never import each other: what one needs of
another arm arrives as a fitted policy in `needs`. A control is its parent's policy with one thing changed.
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
    """What the rest of the lab must know of a method."""

    seeded: bool = False
    """Whether the run seed changes the policy or its answers. A method that is not seeded has one cell."""
    trained: bool = False
    """Whether fitting changes weights or trains a vector: one training seed is then said in so many words."""
    ceiling: str | None = None
    """The kind of ceiling this arm measures, or None."""
    verifier: bool = False
    """Whether answering consults the task's verifier. Such an arm is no rival of the others, and is marked."""
    control_of: str | None = None
    """The method that this one is the control of, with the same options: they must be the parent arm's."""
    fits_on: tuple[str, ...] = ()
    """Methods whose arms it can be fitted on, where it needs another arm; empty for any."""
    models: tuple[str, ...] = ()
    """Its options that name another model, which is loaded beside the base."""


#: Methods whose policies boost features of SAEs, and name them in their records.
FEATURE_METHODS = ("sae_steering", "random_feature", "twin_feature", "ablate_feature", "clamp_feature", "mean_ablation")
#: Methods whose policies steer by directions, each of them one.
STEERING_METHODS = (
    *("mean_steering", "rl_steering", "rl_steering_random_reward", "untrained_vector"),
    *("random_vector", "covariance_vector", "same_vector", "error_vector", *FEATURE_METHODS),
)


class TokenLengths(NamedTuple):
    """Tokens of one problem on one model, expected: what a method's price is counted in."""

    prompt: float
    """Prompt in the plain condition."""
    thinking: float
    """Prompt in the condition that brings working out."""
    plain: float
    """What the untouched base answers in the plain condition."""
    worked: float
    """A worked solution as the task writes it."""
    thought: float
    """What a model writes that works the answer out: its own words, which are more than the task's."""
    limit: int
    """Most new tokens of a completion."""
    layers: int
    """Decoder layers of the model."""

    @property
    def mixed_answer(self) -> float:
        """What settings on trial answer: some bring working out and some do not."""
        return (self.plain + self.thought) / 2


class Generation(NamedTuple):
    """Completions that are drawn together."""

    completions: float
    length: float
    """Generated tokens of each."""
    prompts: float = 0.0
    """Prompts that are run for them: one serves all samples of a problem."""
    prompt: float = 0.0
    """Tokens of each."""
    rows: float = 64.0
    """Completions in one batch."""
    passes: int = 1
    """Forward passes for a token: 2 where another model runs beside the base."""


class CostEstimate(NamedTuple):
    """What a method takes, for `elicit run --plan`."""

    answer: Generation
    """For one problem."""
    fitting: tuple[Generation, ...] = ()
    read_tokens: float = 0.0
    """Tokens that fitting runs forward without generating."""
    trained_tokens: float = 0.0
    """Tokens that go forward and backward."""
    training: Literal["none", "adapter", "full"] = "none"
    """What gets gradients and an optimiser's state: decides memory."""


def estimate_cost(method: Method, lengths: TokenLengths) -> CostEstimate:
    """A method's price, as `method.demand` says it. One without it fits nothing and answers as the base.

    A control that says nothing answers as its parent would be estimated to: between the base and working it out.
    """
    method_estimate = getattr(method, "estimate_cost", None)
    if method_estimate is not None:
        cost: CostEstimate = method_estimate(lengths)
        return cost
    return CostEstimate(Generation(1, lengths.mixed_answer if method.needs else lengths.plain, 1, lengths.prompt))


class Method(Protocol):
    """The interface of a method's config. It may also have `demand(lengths) -> Demand`, which says what it costs."""

    traits: ClassVar[Traits]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of arms whose fitted policies `fit` must be given."""
        ...

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """The fitted policy.

        Args:
            seed: the training seed.
            needs: the fitted policies of the arms named by `needs`.
            scratch: a folder for checkpoints: it outlives an interrupted fit, so that fitting can go on from there.
                None keeps nothing.
        """
        ...


def task_decoding(task: Task, **changes: Any) -> Decoding:
    """Greedy decoding with the task's stop strings and length."""
    from elicit.sampling import Decoding

    return Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop, **changes)


def get_eliciting_condition(base: BaseModel) -> Literal["cue", "forced"]:
    """The condition that brings an ability out: the cue, or the forced opening for organisms that know no cue."""
    return "cue" if base.card.get("has_cue", True) else "forced"

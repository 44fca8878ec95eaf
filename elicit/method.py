"""The interface of a method: one mechanism, one frozen config, `fit(base, task, ...) -> Policy`.

Configs import without torch; `fit` imports torch and trl. Methods never import each other: another arm's fitted policy
is passed in `needs`. A control is its parent's policy with one thing changed.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Decoding
    from elicit.tasks import Problem, Task


#: Families of mechanism, which a report compares: key of `Traits.family`.
FamilyKey = Literal["frame", "sft", "critique", "rl", "rl_steering", "hybrid", "steering", "decoding", "other"]


@dataclass(frozen=True)
class Traits:
    """Properties of a method that the rest of the lab uses. Nothing else knows a method by its name."""

    seeded: bool = False
    """The run seed changes the policy or its answers. A method that is not seeded has one cell."""
    trained: bool = False
    """Fitting changes weights or trains a vector; the report then says so if there is only one training seed."""
    ceiling: str | None = None
    """The kind of ceiling this arm measures, or None."""
    floor: str = ""
    """For something that costs next to nothing: what a mechanism must beat before its gain counts as elicitation, in
    the report's words ("the best prompt")."""
    verifier: bool = False
    """Answering consults the task's verifier. Excluded from comparisons between arms, and flagged in the report."""
    untouched: bool = False
    """The policy is the base model itself, with which every other arm is compared."""
    models: tuple[str, ...] = ()
    """Options that name a second model, loaded in addition to the base."""

    provides: tuple[str, ...] = ()
    """Parts of its policy that another method can be fitted on, such as `direction` and `feature`."""
    fits_on: tuple[str, ...] = ()
    """Parts of which the arm that it is fitted on must provide one; empty for any arm."""

    family: FamilyKey | None = None
    """The family of mechanism. None: as its policy shows (edits are steering; else training, or decoding)."""
    is_control: bool = False
    """Its arms are controls, whatever they are called; all arms named `PARENT/NAME` are."""
    control_of: str | None = None
    """The method (name or class) that this one controls; options they share must equal the parent arm's."""
    varies: tuple[str, ...] = ()
    """The options in which such a control differs from its parent."""
    label: str = ""
    """A control in the report's words: "a random reward"."""
    changes: str = ""
    """The property of its parent that a control changes: `reward`, `training`, `critiques`, `direction`, `position or
    sign`, or a noun phrase of its own ("the order of the steps")."""
    baseline_conclusion: str = ""
    """For a control that is a fair baseline: the conclusion where it gains and its parent does not."""
    substitute: str = ""
    """A control of an ablation in a report's words: "a random vector of the same length"."""
    repeats_search: bool = False
    """Fitting repeats the search of the arm that it is fitted on, and costs as much."""
    evidence: Literal["replication", "sufficiency", "necessity", "rank"] | None = None
    """An arm that supports its parent's feature instead of controlling for it."""
    removal: str = ""
    """What an arm of necessity does to the features {}: "Taking {} out"."""


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
    obstacle: str = ""
    """Why an outside engine (vLLM) cannot generate them; empty where it can."""


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


class Method(ABC):
    """The config of a method: a frozen dataclass whose fields are the options that a spec may give.

    A method of your own is a subclass with a `fit`, named in a spec as `method: my_file.py:MyMethod`:

        @dataclass(frozen=True)
        class Shorter(Method):
            '''The base with less room for its answer.'''

            tokens: int = 8
            traits: ClassVar[Traits] = Traits(family="decoding")

            def fit(self, base, task, *, seed, needs, scratch=None):
                return Policy(base, task_decoding(task).replace(max_new_tokens=self.tokens))

    Before a run begins, `fit` is called once on a model without weights, as far as its first forward pass: what it
    refuses is said then.
    """

    traits: ClassVar[Traits] = Traits()

    def change_traits(self, **changes: Any) -> None:
        """Give this config traits of its own, in `__post_init__`, where an option decides them."""
        object.__setattr__(self, "traits", dataclasses.replace(self.traits, **changes))

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of arms whose fitted policies `fit` requires."""
        return ()

    def shares_training(self, processes: int) -> bool:
        """True if this many processes may call `fit` together, each of which has joined their `training.world`.

        Raises:
            ElicitError: the training is for several processes, but not for this number.
        """
        return processes == 1

    @abstractmethod
    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Fit and return a policy.

        Args:
            seed: the training seed.
            needs: the fitted policies of the arms named by `needs`.
            scratch: a folder for checkpoints, from which an interrupted fit resumes. None keeps no checkpoints.
        """

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """The cost for a plan: nothing is fitted, and a problem is answered as by the base.

        A control is taken to answer as its parent: between the base and working it out.
        """
        length = lengths.mixed_answer if self.needs else lengths.plain
        return CostEstimate(Generation(1, length, 1, lengths.prompt))

    def sample_held_out_solutions(
        self, task: Task, count: int, *, seed: int, build_task: Callable[[Mapping[str, Any]], Task]
    ) -> list[tuple[Problem, str]]:
        """Solutions of select problems such as the method trains on, where they are not the task's worked ones.

        Empty where there are none: the loss on the target task's own solutions is then all that is followed.

        Args:
            count: solutions at most.
            build_task: a task from its description, as the model is asked it.
        """
        return []


def task_decoding(task: Task, **changes: Any) -> Decoding:
    """Greedy decoding with the task's stop strings and length."""
    from elicit.sampling import Decoding

    return Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop, **changes)


def get_eliciting_condition(base: BaseModel) -> Literal["cue", "forced"]:
    """Name the condition that elicits an ability: the cue, or the forced opening for organisms without a cue."""
    return "cue" if base.card.get("has_cue", True) else "forced"

"""Facts that a reader must know next to the verdict: failures, gaps in coverage, side effects."""

from __future__ import annotations

from dataclasses import dataclass, field

from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.verdict.kinds import ThinkingState


@dataclass(frozen=True)
class Rate:
    """A share of an arm's answers."""

    arm: str
    share: float


@dataclass(frozen=True)
class FailedCell:
    """A cell that failed, with its message."""

    arm: str
    seed: str
    """Empty where the whole arm failed."""
    error: str
    has_other_seeds: bool
    """Figures of the arm exist, from its other seeds."""


@dataclass(frozen=True)
class Unfinished:
    """Arms whose work is not finished."""

    arms: tuple[str, ...]


@dataclass(frozen=True)
class OpenThinkingSwitch:
    """A hybrid reasoning model whose thinking switch the task does not set."""

    model: str
    switch: str
    state: ThinkingState


@dataclass(frozen=True)
class CutInThought:
    """Arms whose answers break off inside a block of thinking."""

    arms: tuple[Rate, ...]


@dataclass(frozen=True)
class SingleSeed:
    """Trained arms with a single training seed."""

    arms: tuple[str, ...]


@dataclass(frozen=True)
class BestOfMany:
    """The best of several inference-time arms, picked on the test problems."""

    arm: str
    arms: int


@dataclass(frozen=True)
class OffTargetLoss:
    """A task off target that an arm makes worse, by intervals that do not meet."""

    arm: str
    task: str
    before: OptionalEstimate
    after: OptionalEstimate


@dataclass(frozen=True)
class FormWithoutAbility:
    """Arms that write worked steps far more often than the base without gaining."""

    arms: tuple[str, ...]


@dataclass(frozen=True)
class ControlGain:
    """A control that gains where the arm it controls does not."""

    arm: str
    parent: str
    is_baseline: bool
    """Trained on the same problems' solutions: the fair baseline of a critique."""
    gain: OptionalEstimate
    conclusion: str = field(default="", compare=False)
    """Of a baseline, in words."""


@dataclass(frozen=True)
class MissingFloor:
    """Floors that a comparison with gains was run without."""

    methods: tuple[str, ...]
    labels: tuple[str, ...]
    """In words, one for each method."""


@dataclass(frozen=True)
class UnmixedChain:
    """An arm whose Markov chains accept nearly every move and never try a second first token."""

    arm: str
    acceptance: float
    one_opening: float
    """Share of problems in which all proposals began with the same token."""
    untried: float
    """Probability, at temperature 1, of the first tokens that were never tried."""


@dataclass(frozen=True)
class BrokenText:
    """Arms of whose answers few end by themselves."""

    arms: tuple[Rate, ...]


@dataclass(frozen=True)
class CappedRival:
    """Arms whose tokens would pay for more samples than the base has."""

    arms: tuple[str, ...]


@dataclass(frozen=True)
class GridEdge:
    """An arm tuned to the edge of its grid."""

    arm: str
    edges: tuple[str, ...]
    """Each edge as the fit recorded it."""


@dataclass(frozen=True)
class TiedSettings:
    """An arm that does not gain and whose strength was decided by a tie on select."""

    arm: str
    tied: int
    settings: int
    rate: OptionalEstimate
    """The rate on select that no setting exceeds."""
    strength: float
    strengths: tuple[float, float]
    """The smallest and the largest strength that tie."""


@dataclass(frozen=True)
class SingleVector:
    """Hybrid arms with one direction at one token of an answer: counted with steering."""

    arms: tuple[str, ...]


Caution = (
    FailedCell
    | Unfinished
    | OpenThinkingSwitch
    | CutInThought
    | SingleSeed
    | BestOfMany
    | OffTargetLoss
    | FormWithoutAbility
    | ControlGain
    | MissingFloor
    | UnmixedChain
    | BrokenText
    | CappedRival
    | GridEdge
    | SingleVector
    | TiedSettings
)

"""Facts about one arm: kinds, numbers and intervals."""

from __future__ import annotations

from dataclasses import dataclass, field

from elicit.report.data.recorded_edit import RecordedEdit
from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.verdict.budget_facts import NO_RATIOS, BudgetComparison, SpendingRatios
from elicit.report.verdict.kinds import (
    Comparison,
    ControlChange,
    ControlEffect,
    FallKind,
    GainKind,
    LeakKind,
    Origin,
    SpecificityKind,
    SteeringKind,
)


@dataclass(frozen=True)
class ArmLabel:
    """An arm's name and what its readers call it by."""

    name: str
    is_reference: bool = False
    demonstrations: int | None = None
    """The labels that the reference was trained on."""
    steering: SteeringKind | None = None
    edit: RecordedEdit | None = None


@dataclass(frozen=True)
class Level:
    """The distance an arm came: its share of the gap where that is known, and its points over the base."""

    arm: str
    gap: OptionalEstimate | None
    gain: OptionalEstimate


@dataclass(frozen=True)
class Gain:
    """The paired difference of an arm to the base."""

    kind: GainKind
    is_notable: bool
    """A gain of 10 points or more."""
    difference: OptionalEstimate
    p_holm: float | None
    holm_tests: int | None = None
    """Tests that Holm's correction is over."""


@dataclass(frozen=True)
class SftComparison:
    """The paired difference of an arm to the reference arm."""

    kind: Comparison
    reference: ArmLabel | None
    """None where the comparison has no reference."""
    status: str
    """The state of the reference's work."""
    difference: OptionalEstimate
    p: float | None
    is_corrected: bool
    """p is after Holm's correction."""
    ratios: SpendingRatios = NO_RATIOS


@dataclass(frozen=True)
class Floor:
    """Something that costs next to nothing, and how often it is right."""

    name: str
    label: str
    """In words: "the best prompt"."""
    accuracy: OptionalEstimate


@dataclass(frozen=True)
class FloorComparison:
    """An arm against a floor, paired: more needs an interval above 0."""

    kind: Comparison
    floor: Floor
    difference: OptionalEstimate


@dataclass(frozen=True)
class BestDraw:
    """The most accurate of several draws of a random control."""

    draws: int
    accuracy: float


@dataclass(frozen=True)
class Control:
    """The effect of one control."""

    name: str
    label: str
    """The last part of its name."""
    method: str
    effect: ControlEffect
    change: ControlChange
    gain: OptionalEstimate
    """Points over the base."""
    best_draw: BestDraw | None = None
    is_searched: bool = False
    """It chose among at least as many settings as its parent."""
    edit: RecordedEdit | None = None
    """The edit with its parent's vector at another position or with the other sign."""
    is_reversed: bool = False
    """The vector of its parent with the other sign."""
    method_label: str = field(default="", compare=False)
    """The method in words: "a random reward"; empty where it says none."""
    change_label: str = field(default="", compare=False)
    """The property that it changes, in words of the method's own."""


@dataclass(frozen=True)
class Specificity:
    """The controls of an arm; without one, specificity is open."""

    arm: str
    kind: SpecificityKind
    controls: tuple[Control, ...]
    settings: int = 1
    """Settings that the arm chose among on select."""

    def with_effect(self, effect: ControlEffect) -> tuple[Control, ...]:
        return tuple(control for control in self.controls if control.effect is effect)


@dataclass(frozen=True)
class Replication:
    """The nearest feature of a second SAE in place of an arm's feature."""

    cosine: float | None
    gain: OptionalEstimate
    falls_short: bool


@dataclass(frozen=True)
class Sufficiency:
    """An arm's features at their natural values in the plain prompt."""

    features: int
    gain: OptionalEstimate
    falls_short: bool


@dataclass(frozen=True)
class FeatureRank:
    """An arm's feature among all other live features at the same setting, on select."""

    features: int
    """Others that were tried."""
    as_good: int
    """Others that are right at least as often."""
    problems: int
    share: OptionalEstimate
    """Of others that do as well."""
    best: OptionalEstimate
    """The accuracy of the best other, on select."""
    cosine: float | None
    """Of the best other with the arm's feature."""
    gain: OptionalEstimate
    """Points of the best other over the base, on test."""


@dataclass(frozen=True)
class Substitute:
    """The ceiling's accuracy with something random taken out instead of the features."""

    method: str
    accuracy: OptionalEstimate
    label: str = field(default="", compare=False)
    """The method in words: "a random vector of the same length"."""


@dataclass(frozen=True)
class Necessity:
    """The loss of a ceiling with features taken out or averaged away."""

    kind: FallKind
    method: str
    features: int
    ceiling: str
    fall: OptionalEstimate
    substitutes: tuple[Substitute, ...]
    removal: str = field(default="", compare=False)
    """What the method does to the features {}, in words."""


@dataclass(frozen=True)
class CostComparison:
    """An arm against the base's majority vote at the same tokens."""

    kind: Comparison
    with_fit: bool
    """Tokens of the fit are included."""
    votes: int
    is_capped: bool
    """The base has no more samples than these."""
    difference: OptionalEstimate


@dataclass(frozen=True)
class Sharpening:
    """The gain of an arm at pass@1."""

    is_shown: bool
    gain: OptionalEstimate


@dataclass(frozen=True)
class Expansion:
    """Problems that an arm solves and the base does not in as many samples."""

    solved: int
    problems: int
    share: OptionalEstimate
    samples: int
    needs_trace: bool
    """A solution counts only with a valid trace."""
    solved_by_base: int | None
    """Problems that only the base solves."""
    draws: tuple[float, ...] = ()
    """Draws after which the base has written the worked solution of such a problem, on average, ascending; from its
    exact probabilities, where they are known."""


@dataclass(frozen=True)
class Leak:
    """The difference of an arm to the base on a model without the ability."""

    kind: LeakKind
    model: str | None
    difference: OptionalEstimate


@dataclass(frozen=True)
class ArmFacts:
    """All facts about one arm."""

    arm: ArmLabel
    family: str
    """Key of `FAMILIES`."""
    gain: Gain
    level: Level
    accuracy: OptionalEstimate
    base_accuracy: OptionalEstimate
    origin: Origin | None
    """None without a gain."""
    against_sft: SftComparison | None
    """None without a gain, and for the reference itself."""
    floors: tuple[FloorComparison, ...]
    """Against each floor that was measured; empty without a gain."""
    specificity: Specificity | None
    """None without a notable gain, and for the reference."""
    variants: tuple[Level, ...]
    support: tuple[Replication | Sufficiency | FeatureRank, ...]
    costs: tuple[CostComparison, ...]
    sharpening: Sharpening | None
    expansion: Expansion | None
    crossover: int | None
    """The k from which on the base's pass@k exceeds the arm's."""
    leak: Leak | None
    at_budget: tuple[BudgetComparison, ...] = ()
    """Against fine-tuning at its own spending; empty without a gain, and in runs without budget curves."""

    @property
    def unbeaten(self) -> tuple[FloorComparison, ...]:
        """The floors that the arm is not shown to beat."""
        return tuple(comparison for comparison in self.floors if comparison.kind is not Comparison.MORE)

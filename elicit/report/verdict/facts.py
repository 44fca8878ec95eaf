"""Facts of a verdict: families, the whole comparison, and all of them together. No sentences; those are in `words`."""

from __future__ import annotations

from dataclasses import dataclass

from elicit.report.data.summary_view import OptionalEstimate
from elicit.report.verdict.arm_facts import ArmFacts, ArmLabel, Floor, Gain, Level, Necessity
from elicit.report.verdict.caution_facts import Caution
from elicit.report.verdict.kinds import OpeningKind, Origin


@dataclass(frozen=True)
class NoGain:
    """Arms of which none gains 10 points."""

    measured: int
    largest: Level | None
    """The largest difference; None where nothing was measured."""
    not_ruled_out: tuple[str, ...]
    """Arms whose interval reaches above 10 points."""
    losing: tuple[str, ...]


@dataclass(frozen=True)
class SmallGain:
    """A gain below 10 points in a family without a notable one."""

    arm: ArmLabel
    gain: Gain
    origin: Origin


@dataclass(frozen=True)
class ReferenceGain:
    """The reference arm where it does not gain."""

    arm: ArmLabel
    gain: Gain


@dataclass(frozen=True)
class VerifierArm:
    """An arm that consults the verifier while answering."""

    name: str
    accuracy: OptionalEstimate


@dataclass(frozen=True)
class FamilyFacts:
    """A family of mechanism, or several without a notable gain."""

    families: tuple[str, ...]
    """Keys of `FAMILIES`."""
    speaker: ArmFacts | None
    """The arm that speaks for the family; None without a notable gain."""
    no_gain: NoGain | None
    reference: ReferenceGain | None
    small_gains: tuple[SmallGain, ...]
    notable: tuple[Level, ...]
    """Other arms with a notable gain."""
    not_notable: tuple[str, ...]
    verifier_arms: tuple[VerifierArm, ...]


@dataclass(frozen=True)
class Ceiling:
    """The ceiling that gaps are measured to."""

    kind: str
    accuracy: OptionalEstimate


@dataclass(frozen=True)
class Mechanism:
    """A family with a notable gain, and how far its arm came."""

    family: str
    level: Level


@dataclass(frozen=True)
class Opening:
    """The outcome of a whole comparison."""

    kind: OpeningKind
    base_status: str
    base: OptionalEstimate | None
    ceiling: Ceiling | None
    problems: int
    capable: bool | None
    mechanisms: tuple[Mechanism, ...]
    """The furthest first."""
    not_shown: tuple[str, ...]
    """Keys of the measured families without a notable gain."""

    @property
    def has_shares(self) -> bool:
        """A share of the gap is known for some mechanism."""
        return any(mechanism.level.gap is not None for mechanism in self.mechanisms)


@dataclass(frozen=True)
class WithheldGap:
    """No share of the gap is known: no ceiling, or one that is not clearly above the base."""

    ceiling: Ceiling | None
    base: OptionalEstimate


@dataclass(frozen=True)
class Verdict:
    """All facts about one model on one task."""

    model: str
    task: str
    opening: Opening
    families: tuple[FamilyFacts, ...]
    necessity: tuple[Necessity, ...]
    withheld_gap: WithheldGap | None
    floors: tuple[Floor, ...]
    """Those that were measured."""
    details: tuple[ArmFacts, ...]
    """Arms that do not speak for their family."""
    cautions: tuple[Caution, ...]

    @property
    def arms(self) -> tuple[ArmFacts, ...]:
        """Every arm, those that speak for their families first."""
        return (*(family.speaker for family in self.families if family.speaker is not None), *self.details)

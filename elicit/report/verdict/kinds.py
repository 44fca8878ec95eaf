"""Kinds of facts: every distinction that a verdict makes."""

from __future__ import annotations

from enum import StrEnum


class GainKind(StrEnum):
    """The change of an arm against the base."""

    GAIN = "gain"
    """Interval above 0 and Holm p below 0.05."""
    UNCORRECTED = "uncorrected"
    """Interval above 0, but not significant after Holm's correction."""
    NONE = "none"
    LOSS = "loss"
    """Interval below 0."""


class SteeringKind(StrEnum):
    """The direction that an arm with a single edit adds."""

    VECTOR = "vector"
    FEATURE = "feature"
    GATED_VECTORS = "gated vectors"
    GATED_VECTOR = "gated vector"
    """A single direction, at one token of an answer."""


class Origin(StrEnum):
    """The source of a gain: brought out of the model, or taught to it."""

    ELICITED = "elicited"
    VERIFIER = "verifier"
    """The arm consults the verifier while answering."""
    INCAPABLE = "incapable"
    """Taught: the model never had the ability."""
    NO_CEILING = "no ceiling"
    """Open: a trained arm, no inference-time arm that gains, and no ceiling measured."""
    NO_ABILITY = "no ability"
    """Taught: neither the ceiling nor any inference-time arm shows the ability."""


class BudgetAxis(StrEnum):
    """What is spent; the keys of `vs_sft_at_budget`."""

    LABELS = "labels"
    TOKENS = "tokens"
    FLOPS = "flops"


class Comparison(StrEnum):
    """The side of 0 on which a paired interval lies."""

    MORE = "more"
    EQUAL = "not told apart"
    LESS = "less"
    UNKNOWN = "unknown"
    """Not measured."""


class ControlEffect(StrEnum):
    """The accuracy of a control next to that of the arm it controls."""

    AS_MUCH = "as much"
    PART = "part"
    NONE = "none"
    LOSS = "loss"


class SpecificityKind(StrEnum):
    """The standing of an arm's effect against its controls (rule 3)."""

    UNCONTROLLED = "uncontrolled"
    """Open: no control was measured."""
    NOT_SPECIFIC = "not specific"
    """A control moves as much."""
    UNSEARCHED = "unsearched"
    """Open: the arm chose among several settings, and no control of its direction was given that search."""
    PARTLY = "partly"
    """A control of the arm's own search moves in part."""
    SPECIFIC = "specific"


class ControlChange(StrEnum):
    """The property of an arm that its control changes."""

    REWARD = "reward"
    TRAINING = "training"
    CRITIQUES = "critiques"
    DIRECTION = "direction"
    POSITION_OR_SIGN = "position or sign"
    OTHER = "other"


class LeakKind(StrEnum):
    """The change of an arm on a model that never had the ability."""

    TAUGHT = "taught"
    NONE = "none"
    LOSS = "loss"
    VERIFIER = "verifier"


class FallKind(StrEnum):
    """The change of a ceiling with features taken out."""

    LARGE = "large"
    """An interval below 0 and 10 points or more."""
    SMALL = "small"
    NOT_SHOWN = "not shown"


class OpeningKind(StrEnum):
    """The outcome of a whole comparison."""

    NO_BASE = "no base"
    NO_OTHER_ARM = "no other arm"
    NOTHING_FINISHED = "nothing finished"
    NO_GAIN = "no gain"
    GAIN = "gain"


class ThinkingState(StrEnum):
    """The prompt of a chat template whose thinking switch the task leaves open."""

    ON = "on"
    OFF = "off"
    NEITHER = "neither"

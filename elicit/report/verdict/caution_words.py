"""Sentences about what a reader must know next to the verdict, one for each caution."""

from __future__ import annotations

from collections.abc import Sequence

from elicit.report.data.display_text import fold_onto_line
from elicit.report.data.number_format import format_interval, format_percent
from elicit.report.verdict.caution_facts import (
    BestOfMany,
    BrokenText,
    CappedRival,
    Caution,
    ControlGain,
    CutInThought,
    FailedCell,
    FormWithoutAbility,
    GridEdge,
    MissingFloor,
    OffTargetLoss,
    OpenThinkingSwitch,
    Rate,
    SingleSeed,
    SingleVector,
    TiedSettings,
    Unfinished,
    UnmixedChain,
)
from elicit.report.verdict.kinds import ThinkingState
from elicit.report.verdict.phrases import brief_points, listed, share

_NAMED = 6
"""The most arms that a caution names."""
_STATES = {
    ThinkingState.ON: "it is asked to think before every answer, the direct one too",
    ThinkingState.OFF: "it is asked not to think",
    ThinkingState.NEITHER: "the prompt is neither that for thinking nor that without",
}


def write_caution(caution: Caution) -> str:
    """The sentence of one caution."""
    match caution:
        case FailedCell():
            return _write_failed_cell(caution)
        case Unfinished(arms):
            return f"Not finished: {', '.join(arms)}."
        case OpenThinkingSwitch(model, switch, state):
            return (
                f"The chat template of {model} reads {fold_onto_line(switch)}, which the task does not set: "
                f"{_STATES[state]}."
            )
        case CutInThought(arms):
            return (
                f"Answers break off inside their thinking under {_write_rates(arms)}: they count as unfinished and "
                "wrong, and a longer limit, or no thinking, may be all that separates them from the rest."
            )
        case SingleSeed(arms):
            each = "each of " if len(arms) > 1 else ""
            return (
                f"One single training seed stands behind {each}{', '.join(arms)}: how much another training run would "
                "differ is not covered by any interval here."
            )
        case BestOfMany(arm, count):
            return (
                f"{arm} is the best of {count} inference-time arms on the very test problems it is judged on: naming "
                "the best one favours it a little."
            )
        case OffTargetLoss(arm, task, before, after):
            return (
                f"Off target, {arm} lowers {task} from {format_percent(before.value)} % to "
                f"{format_percent(after.value)} %."
            )
        case FormWithoutAbility(arms):
            return _write_form(arms)
        case ControlGain():
            return _write_control_gain(caution)
        case MissingFloor(methods, labels):
            floors = listed([f"{label} ({name})" for name, label in zip(methods, labels, strict=True)])
            return f"No arm shows what {floors} would do: until it is run, a gain here may be had as cheaply."
        case UnmixedChain(arm, acceptance, one_opening, untried):
            return (
                f"{arm}: the chain is not shown to mix. It accepts {format_percent(acceptance)} % of its moves, and in "
                f"{format_percent(one_opening)} % of the problems every proposal began with the same token, though the "
                f"base begins otherwise in {format_percent(untried)} %: its answers are not samples of p^alpha. "
                "Proposals at temperature 1 try other beginnings."
            )
        case BrokenText(arms):
            return (
                f"Few answers end by themselves under {_write_rates(arms)}: a low accuracy there is that of broken "
                "text."
            )
        case CappedRival(arms):
            return (
                f"The base has fewer samples than the tokens of {', '.join(arms)} would pay for: the rival there is "
                "weaker than it could be."
            )
        case SingleVector(arms):
            return (
                f"One direction, at one token of an answer, is all that {listed(list(arms))} "
                f"{'add' if len(arms) > 1 else 'adds'}: that counts as steering, not as a mechanism of its own."
            )
        case TiedSettings():
            return _write_tied_settings(caution)
        case GridEdge(arm, edges):
            return f"{arm} was chosen at the edge of its grid, and more may lie beyond: {'; '.join(edges)}."


def _write_failed_cell(cell: FailedCell) -> str:
    seed = f", seed {cell.seed}," if cell.seed else ""
    stop = "" if cell.error.endswith(".") else "."
    rest = " Its figures are those of its other seeds." if cell.has_other_seeds else ""
    return f"{cell.arm}{seed} failed: {fold_onto_line(cell.error)}{stop}{rest}"


def _write_rates(rates: Sequence[Rate]) -> str:
    return ", ".join(f"{rate.arm} ({format_percent(rate.share)} %)" for rate in rates)


def _write_form(arms: Sequence[str]) -> str:
    more = f" and {len(arms) - _NAMED} more" if len(arms) > _NAMED else ""
    return (
        f"Form without ability: {', '.join(arms[:_NAMED])}{more} {'writes' if len(arms) == 1 else 'write'} worked "
        "steps far more often than the base, without being shown to be right 10 points more often."
    )


def _write_control_gain(caution: ControlGain) -> str:
    role, conclusion = "a control", "what was sought is not where the effect is"
    if caution.is_baseline:
        role, conclusion = "its fair baseline", caution.conclusion
    gain = brief_points(caution.gain)
    return f"{caution.arm}, {role}, gains {gain} where {caution.parent} itself is not shown to gain 10: {conclusion}."


def _write_tied_settings(facts: TiedSettings) -> str:
    smallest, largest = facts.strengths
    return (
        f"No setting of {facts.arm} does better on select than {share(facts.rate.value)} "
        f"{format_interval(facts.rate)} (n = {facts.rate.n}), and {facts.tied} of {facts.settings} do as well, with "
        f"strengths from {smallest:g} to {largest:g}: its test figures are those of {facts.strength:g}."
    )

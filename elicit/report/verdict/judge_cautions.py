"""Facts that a reader must know next to the verdict: added by rule, whether or not they suit the headline (rule 8)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from elicit.methods.catalog import list_floors
from elicit.report.data.families import is_single_vector
from elicit.report.data.summary_view import Arm, ModelPanel, get_nested, parse_estimate, read_finite_number
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

_ENDS = 0.5
"""Below this share of answers that end by themselves, an arm is reported to break the text."""
_CUT = 0.02
"""Above this share of answers that break off inside a block of thinking, an arm is reported."""
_MIXES = 0.9, 0.5, 0.001
"""A chain that accepts more moves than the first, has a single opening in more problems than the second, and leaves out
openings of more probability than the third is reported."""
_FORM = 0.5
"""By how much an arm's trace rate must exceed the base's to count as having brought the form of reasoning."""


def judge_cautions(panel: ModelPanel, leader: Arm | None, gaining: Collection[str]) -> Iterator[Caution]:
    """Failures, gaps in coverage and side effects, in reading order.

    Args:
        leader: the best inference-time arm with a notable gain.
        gaining: names of the arms with a notable gain.
    """
    yield from _list_failures(panel)
    yield from _judge_thinking(panel)
    lone = tuple(arm.name for arm in panel.arms if arm.trained and arm.seeds == 1)
    if lone:
        yield SingleSeed(lone)
    if leader is not None:
        yield from _judge_leader(panel, leader)
    yield from _judge_form(panel, gaining)
    yield from _judge_controls(panel, gaining)
    yield from _judge_floors(panel, gaining)
    yield from _judge_chains(panel)
    broken = tuple(rate for rate in _list_rates(panel, "finished_rate") if rate.share < _ENDS)
    if broken:
        yield BrokenText(broken)
    capped = tuple(a.name for a in panel.arms if a.role != "control" and get_nested(a.data, "rival", "capped") is True)
    if capped:
        yield CappedRival(capped)
    single = tuple(arm.name for arm in panel.arms if is_single_vector(arm.data))
    if single:
        yield SingleVector(single)
    yield from _judge_ties(panel, gaining)
    for arm in panel.arms:
        edges = arm.data.get("edges")
        if isinstance(edges, list) and edges:
            yield GridEdge(arm.name, tuple(map(str, edges)))


def _list_failures(panel: ModelPanel) -> Iterator[FailedCell | Unfinished]:
    for arm in panel.arms:
        for seed, error in arm.failures:
            yield FailedCell(arm.name, seed, error, arm.accuracy.value is not None)
    waiting = tuple(arm.name for arm in panel.arms if arm.status not in ("done", "failed"))
    if waiting:
        yield Unfinished(waiting)


def _judge_thinking(panel: ModelPanel) -> Iterator[OpenThinkingSwitch | CutInThought]:
    """A hybrid model whose switch nobody set, and answers that break off inside their thinking."""
    thinking = panel.data.get("thinking")
    if isinstance(thinking, Mapping) and thinking.get("given") is False:
        is_on, state = thinking.get("on"), ThinkingState.NEITHER
        if is_on is not None:
            state = ThinkingState.ON if is_on else ThinkingState.OFF
        yield OpenThinkingSwitch(panel.model, str(thinking.get("switch")), state)
    cut = tuple(rate for rate in _list_rates(panel, "cut_in_thought") if rate.share > _CUT)
    if cut:
        yield CutInThought(cut)


def _list_rates(panel: ModelPanel, key: str) -> list[Rate]:
    known = [(arm.name, arm.read_estimate(key).value) for arm in panel.arms]
    return [Rate(name, value) for name, value in known if value is not None]


def _judge_leader(panel: ModelPanel, leader: Arm) -> Iterator[BestOfMany | OffTargetLoss]:
    """The choice on test problems, and what the chosen arm loses off the target."""
    peers = [
        arm
        for arm in panel.arms_with_role("arm")
        if not arm.trained and not arm.verifier and arm.accuracy.value is not None
    ]
    if len(peers) > 1:
        yield BestOfMany(leader.name, len(peers))
    tasks = leader.data.get("off_target")
    for task in tasks if isinstance(tasks, Mapping) else ():
        after = leader.read_estimate("off_target", task)
        before = panel.base.read_estimate("off_target", task) if panel.base else after
        if after.high is not None and before.low is not None and after.high < before.low:
            yield OffTargetLoss(leader.name, task, before, after)


def _judge_form(panel: ModelPanel, gaining: Collection[str]) -> Iterator[FormWithoutAbility]:
    """Arms that write worked steps but do not gain; ceilings' controls and gains that only Holm hides are left out."""
    base = panel.base.read_estimate("trace_rate").value if panel.base else None
    if base is None:
        return
    ceilings = tuple(f"{ceiling.name}/" for ceiling in panel.arms_with_role("ceiling"))
    formal = []
    for arm in panel.arms:
        rate, gain = arm.read_estimate("trace_rate").value, arm.read_difference("vs_base").estimate
        if arm.name in gaining or arm.name.startswith(ceilings) or rate is None or gain.value is None:
            continue
        if rate - base >= _FORM and not (gain.low or 0.0) > 0:
            formal.append(arm.name)
    if formal:
        yield FormWithoutAbility(tuple(formal))


def _judge_controls(panel: ModelPanel, gaining: Collection[str]) -> Iterator[ControlGain]:
    """Controls that gain where the arm they control does not: the effect is not where it was sought."""
    for arm in panel.arms_with_role("control"):
        parent = next((other for other in panel.arms if other.name == arm.parent), None)
        if arm.name not in gaining or parent is None or parent.name in gaining or parent.role == "ceiling":
            continue
        conclusion = arm.traits.baseline_conclusion
        yield ControlGain(arm.name, parent.name, bool(conclusion), arm.read_difference("vs_base").estimate, conclusion)


def _judge_floors(panel: ModelPanel, gaining: Collection[str]) -> Iterator[MissingFloor]:
    """Built-in floors of which a comparison has no arm although it claims to bring an ability out."""
    measured = {str(arm.data.get("method")) for arm in panel.arms}
    missing = {method: label for method, label in list_floors().items() if method not in measured}
    claims = [arm for arm in panel.arms_with_role("arm") + panel.arms_with_role("reference") if arm.name in gaining]
    if missing and claims and panel.capable is not False:
        yield MissingFloor(tuple(missing), tuple(missing.values()))


def _judge_ties(panel: ModelPanel, gaining: Collection[str]) -> Iterator[TiedSettings]:
    """Arms that do not gain at a strength that a tie decided: no failure of the larger ones."""
    for arm in panel.arms:
        tied = arm.data.get("tied")
        strengths = get_nested(tied, "strengths")
        rate, strength = parse_estimate(get_nested(tied, "rate")), read_finite_number(get_nested(tied, "strength"))
        if arm.name in gaining or arm.role == "control" or strength is None or not isinstance(strengths, list):
            continue
        low, high = (float(value) for value in strengths)
        if low < high:
            count, settings = (round(read_finite_number(get_nested(tied, key)) or 0) for key in ("candidates", "of"))
            yield TiedSettings(arm.name, count, settings, rate, strength, (low, high))


def _judge_chains(panel: ModelPanel) -> Iterator[UnmixedChain]:
    for arm in panel.arms:
        acceptance, one_opening, mass = (
            arm.read_estimate("search", name).value for name in ("acceptance", "one_opening", "opening_mass")
        )
        if acceptance is None or one_opening is None or mass is None:
            continue
        if all(value > least for value, least in zip((acceptance, one_opening, 1 - mass), _MIXES, strict=True)):
            yield UnmixedChain(arm.name, acceptance, one_opening, 1 - mass)

"""What a reader must know beside the verdict: added by rule, whether or not it suits the headline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from elicit.report.figures import Arm, Panel, dig
from elicit.report.text import one_line
from elicit.report.written import interval, percent

_ENDS = 0.5
"""Below this share of answers that end by themselves, an arm is said to break the text."""
_CUT = 0.02
"""Above this share of answers that break off inside a block of thinking, an arm is named."""
_NAMED = 6
"""How many arms a caution names."""
_FORM = 0.5
"""By how much an arm's trace rate must exceed the base's to count as having brought the form of reasoning."""


def cautions(panel: Panel, leader: Arm | None, gaining: set[str]) -> Iterator[str]:
    """Sentences on what failed, what is not covered, and what the arms cost."""
    yield from _unfinished(panel)
    yield from _thinking(panel)
    yield from _single_seeds(panel)
    if leader is not None:
        rivals = [
            arm for arm in panel.role("arm") if not arm.trained and not arm.verifier and arm.accuracy.value is not None
        ]
        if len(rivals) > 1:
            yield (
                f"{leader.name} is the best of {len(rivals)} inference-time arms on the very test problems it is "
                "judged on: naming the best one favours it a little."
            )
        yield from _off_target(panel, leader)
    yield from _form(panel, gaining)
    yield from _controls(panel, gaining)
    yield from _endless(panel)
    yield from _held_back(panel)
    yield from _edges(panel)


def _thinking(panel: Panel) -> Iterator[str]:
    """A hybrid model whose switch nobody set, and answers that break off inside their thinking."""
    thinking = panel.data.get("thinking")
    if isinstance(thinking, Mapping) and thinking.get("given") is False:
        on = thinking.get("on")
        state = "it is asked to think before every answer, the direct one too" if on else "it is asked not to think"
        yield (
            f"The chat template of {panel.model} reads {one_line(str(thinking.get('switch')))}, which the task does "
            f"not set: {state if on is not None else 'the prompt is neither that for thinking nor that without'}."
        )
    cut = [
        f"{arm.name} ({percent(rate)} %)"
        for arm in panel.arms
        if (rate := arm.estimate("cut_in_thought").value) is not None and rate > _CUT
    ]
    if cut:
        yield (
            f"Answers break off inside their thinking under {', '.join(cut)}: they count as unfinished and wrong, and "
            "a longer limit, or no thinking, may be all that separates them from the rest."
        )


def _endless(panel: Panel) -> Iterator[str]:
    """Arms whose answers are cut at the limit: their accuracy speaks of broken text, not of the ability."""
    cut = [
        f"{arm.name} ({percent(rate)} %)"
        for arm in panel.arms
        if (rate := arm.estimate("finished_rate").value) is not None and rate < _ENDS
    ]
    if cut:
        yield f"Few answers end by themselves under {', '.join(cut)}: a low accuracy there is that of broken text."


def _edges(panel: Panel) -> Iterator[str]:
    """Choices at the end of what was tried."""
    for arm in panel.arms:
        edges = arm.data.get("edges")
        if isinstance(edges, list) and edges:
            named = "; ".join(map(str, edges))
            yield f"{arm.name} was chosen at the edge of its grid, and more may lie beyond: {named}."


def _held_back(panel: Panel) -> Iterator[str]:
    """Rivals that could not spend what their arm spends."""
    held = [arm.name for arm in panel.arms if arm.role != "control" and dig(arm.data, "rival", "capped") is True]
    if held:
        yield (
            f"The base has fewer samples than the tokens of {', '.join(held)} would pay for: the rival there is weaker "
            "than it could be."
        )


def _controls(panel: Panel, gaining: set[str]) -> Iterator[str]:
    """Controls that gain where the arm they control does not: a finding about the direction that was not sought."""
    for arm in panel.role("control"):
        parent = next((one for one in panel.arms if one.name == arm.parent), None)
        if arm.name not in gaining or parent is None or parent.name in gaining or parent.role == "ceiling":
            continue
        gain = arm.versus("vs_base").figure
        what, so = "a control", "what was sought is not where the effect is"
        if arm.data.get("method") == "same_solutions":
            what, so = "its fair baseline", "the solutions help, the critiques do not"
        yield (
            f"{arm.name}, {what}, gains {percent(gain.value, signed=True)} points {interval(gain)} where "
            f"{parent.name} itself is not shown to gain 10: {so}."
        )


def _unfinished(panel: Panel) -> Iterator[str]:
    for arm in panel.arms:
        for seed, error in arm.failures:
            where = f", seed {seed}," if seed else ""
            rest = " Its figures are those of its other seeds." if arm.accuracy.value is not None else ""
            yield f"{arm.name}{where} failed: {one_line(error)}{'' if error.endswith('.') else '.'}{rest}"
    waiting = [arm.name for arm in panel.arms if arm.status not in ("done", "failed")]
    if waiting:
        yield f"Not finished: {', '.join(waiting)}."


def _single_seeds(panel: Panel) -> Iterator[str]:
    lone = [arm.name for arm in panel.arms if arm.trained and arm.seeds == 1]
    if lone:
        each = "each of " if len(lone) > 1 else ""
        yield (
            f"One single training seed stands behind {each}{', '.join(lone)}: how much another training run would "
            "differ is not covered by any interval here."
        )


def _off_target(panel: Panel, leader: Arm) -> Iterator[str]:
    tasks = leader.data.get("off_target")
    for task in tasks if isinstance(tasks, Mapping) else ():
        here = leader.estimate("off_target", task)
        before = panel.base.estimate("off_target", task) if panel.base else here
        if here.high is not None and before.low is not None and here.high < before.low:
            yield f"Off target, {leader.name} lowers {task} from {percent(before.value)} % to {percent(here.value)} %."


def _form(panel: Panel, gaining: set[str]) -> Iterator[str]:
    base = panel.base.estimate("trace_rate").value if panel.base else None
    if base is None:
        return
    formal = [
        arm.name
        for arm in panel.arms
        if arm.name not in gaining
        and not any(arm.name.startswith(f"{one.name}/") for one in panel.role("ceiling"))
        and (rate := arm.estimate("trace_rate").value) is not None
        and rate - base >= _FORM
        and (gained := arm.versus("vs_base").figure).value is not None
        and not (gained.low or 0.0) > 0  # a gain that only Holm's correction hides is no lack of ability
    ]
    if formal:
        verb = "writes" if len(formal) == 1 else "write"
        named = ", ".join(formal[:_NAMED]) + (f" and {len(formal) - _NAMED} more" if len(formal) > _NAMED else "")
        yield (
            f"Form without ability: {named} {verb} worked steps far more often than the base, without "
            "being shown to be right 10 points more often."
        )

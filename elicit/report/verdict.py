"""What the figures of a run allow to be said, in sentences, by rules. No model, no judgement, no rounding up.

1. A *gain* of an arm is a paired difference to the base whose interval lies above 0 and whose Holm p is below 0.05; it
   is *notable* from 10 points. The leader is the notable inference-time arm (nothing trained) of highest accuracy.
2. A share of the gap is quoted only where the summary gives one; a withheld share is said to be withheld, and why.
3. A control that raises accuracy and is not shown to fall short of its parent (paired over the same problems) moves *as
   much*: the effect is then not specific. One whose interval lies above 0 moves *in part*. What supports a feature
   rather than controlling for it (a second SAE, its natural value, its removal) is said apart (`evidence`).
4. "No arm gains more than 10 points" needs intervals that end below 10 points; else larger gains are "not ruled out".
5. A trained arm that gains where neither the ceiling nor any inference-time arm shows the ability teaches it.
6. Failed and unfinished arms, single training seeds, choices made on test problems, traces without accuracy, and losses
   off the target are always added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from elicit.report.cautions import cautions
from elicit.report.evidence import EVIDENCE, necessity, support
from elicit.report.figures import Arm, Figure, Panel, ceiling_name, estimate, interval, number, p_value, panels, percent

NOTABLE = 0.10
ALPHA = 0.05

_EDIT = re.compile(r"^\w+ .+ at layer (?P<layer>\d+), (?P<where>[a-z0-9:]+): ")
_CONTROLS = {
    "random_vector": "a random vector of the same norm",
    "covariance_vector": "a random vector from the residuals' covariance",
    "random_feature": "a random feature of matched density and norm",
    "error_vector": "the SAE's unexplained part of the contrast",
}
_WHERE = {
    "first": "at the first generation step",
    "all": "at all positions",
    "generated": "at every generated position",
    "prompt": "on the prompt",
}


class Verdict(NamedTuple):
    model: str
    task: str
    sentences: tuple[str, ...]
    cautions: tuple[str, ...]


def verdicts(summary: Mapping[str, Any]) -> list[Verdict]:
    """One verdict for each model and task."""
    return [judge(panel) for panel in panels(summary)]


def judge(panel: Panel) -> Verdict:
    """The sentences that one model's figures allow."""
    if panel.base is None:
        state = next((arm.status for arm in panel.role("base")), "not part of this comparison")
        said = [f"On {panel.model} nothing can be concluded: the base arm is {state}, so no gain is known."]
        return Verdict(panel.model, panel.task, tuple(said), tuple(cautions(panel, None, set())))
    gaining = {arm.name for arm in panel.arms if notable(arm)}
    rivals = [arm for arm in panel.role("arm") if not arm.trained]
    leaders = [arm for arm in rivals if arm.name in gaining]
    leader = max(leaders, key=lambda arm: arm.accuracy.value or 0.0, default=None)
    sentences = [_led(panel, leader)] if leader else [_none(panel, rivals)]
    for arm in sorted(leaders, key=lambda arm: arm is not leader):
        if arm is not leader:
            sentences.append(f"{described(arm)} {_reached(panel, arm)}.")
        sentences += [_specificity(panel, arm), *support(panel, arm)]
    sentences += necessity(panel)
    sentences += _trained(panel, leader)
    sentences.append(_withheld(panel))
    return Verdict(panel.model, panel.task, tuple(filter(None, sentences)), tuple(cautions(panel, leader, gaining)))


def gains(arm: Arm) -> bool:
    """Whether an arm is above the base beyond chance."""
    found = arm.versus("vs_base")
    p = found.p if found.p_holm is None else found.p_holm
    return found.figure.low is not None and found.figure.low > 0 and p is not None and p < ALPHA


def notable(arm: Arm) -> bool:
    return gains(arm) and (arm.versus("vs_base").figure.value or 0.0) >= NOTABLE


def described(arm: Arm) -> str:
    """An arm's name, with what a steering arm does in words."""
    if arm.name == "sft":
        labels = number((arm.data.get("train") or {}).get("labels"))
        return f"SFT on {labels:.0f} demonstrations" if labels else "SFT"
    found = _edit(arm)
    what = "SAE feature" if arm.data.get("features") else "vector"
    return f"{arm.name} (one {what} {found[1]}, layer {found[0]})" if found else arm.name


def points(figure: Figure) -> str:
    """`+26.5 points [18.2, 34.9]`."""
    spoken = f"{percent(figure.value, signed=True)} points"
    return f"{spoken} {interval(figure)}" if figure.bounded else f"{spoken}, no interval"


def share(value: float | None) -> str:
    return f"{percent(value)} %"


def _edit(arm: Arm) -> tuple[str, str] | None:
    """(layer, place in words) of an arm with a single edit."""
    edits = arm.data.get("steering")
    if not isinstance(edits, list) or len(edits) != 1:
        return None
    match = _EDIT.match(str(edits[0]))
    return (match["layer"], _WHERE.get(match["where"], f"at positions {match['where']}")) if match else None


def _led(panel: Panel, leader: Arm) -> str:
    return f"On {panel.model} {described(leader)} {_reached(panel, leader)}, {_against_sft(panel, leader)}."


def _reached(panel: Panel, arm: Arm) -> str:
    """How far an arm has come from the base: as a share of the gap where that is known, else in points."""
    assert panel.base is not None
    base, top = share(panel.base.accuracy.value), panel.top
    if arm.gap.value is not None and top is not None:
        goal = f"{ceiling_name(top)} ({share(estimate(top).value)})"
        recovered = f"{share(arm.gap.value)} {interval(arm.gap)}".strip()
        return f"recovers {recovered} of the gap between the base ({base}) and the {goal}"
    gained = points(arm.versus("vs_base").figure)
    return f"raises accuracy from {base} to {share(arm.accuracy.value)} ({gained})"


def _against_sft(panel: Panel, arm: Arm) -> str:
    sft, found = panel.sft, arm.versus("vs_sft")
    if sft is None:
        return "with no SFT arm beside it"
    if found.figure.value is None or not found.figure.bounded:
        return f"with no difference to SFT to report (SFT is {sft.status})"
    p = found.p if found.p_holm is None else found.p_holm
    word = "not told apart from"
    if p is not None and p < ALPHA and (found.figure.low or 0.0) > 0:
        word = "more than"
    elif p is not None and p < ALPHA and (found.figure.high or 0.0) < 0:
        word = "less than"
    name = "Holm p" if found.p_holm is not None else "p"
    shown = p_value(p)
    return (
        f"{word} {described(sft)} ({points(found.figure)}, {name} {shown if shown.startswith('<') else '= ' + shown})"
    )


def _specificity(panel: Panel, leader: Arm) -> str:
    """What the leader's controls do."""
    own = leader.versus("vs_base").figure
    found: dict[str, list[str]] = {"as much": [], "in part": [], "no": [], "lower": []}
    blame = []
    for control in (arm for arm in panel.arms if arm.parent == leader.name):
        moved = control.versus("vs_base").figure
        if moved.value is None or not moved.bounded or control.data.get("method") in EVIDENCE:
            continue
        spoken = f"{_control(control)} ({points(moved)}{_best_draw(control)})"
        if moved.value > 0 and _keeps_up(control, moved, own):
            found["as much"].append(spoken)
            blame.append(_blamed(control))
        elif (moved.low or 0.0) > 0:
            found["in part"].append(spoken)
        elif moved.high is not None and moved.high < 0:
            found["lower"].append(spoken)
        else:
            found["no"].append(spoken)
    if not any(found.values()):
        return f"No control of {leader.name} was measured: whether the effect is specific is open."
    parts = []
    if found["as much"]:
        moves = "move" if len(found["as much"]) > 1 else "moves"
        parts.append(
            f"Not specific: {_listed(found['as much'])} {moves} accuracy as much, so the effect is not tied to "
            f"{_listed(list(dict.fromkeys(blame)))}"
        )
    if found["in part"]:
        parts.append(f"{_listed(found['in part'])} {'bring' if len(found['in part']) > 1 else 'brings'} a part of it")
    if found["no"]:
        parts.append(f"{_listed(found['no'])} {'do' if len(found['no']) > 1 else 'does'} not")
    if found["lower"]:
        parts.append(f"{_listed(found['lower'])} {'lower' if len(found['lower']) > 1 else 'lowers'} accuracy")
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def _keeps_up(control: Arm, moved: Figure, own: Figure) -> bool:
    """Whether a control is not shown to fall short of its parent; by overlapping intervals where nothing is paired."""
    paired = control.versus("vs_parent").figure
    if paired.bounded:
        return paired.high is None or paired.high >= 0
    return moved.high is not None and own.low is not None and moved.high >= own.low


def _best_draw(control: Arm) -> str:
    """`; best of 10 draws 3.5 %`, for a control that is drawn anew by every seed."""
    drawn = control.data.get("seed_accuracies")
    known = [value for one in drawn if (value := number(one)) is not None] if isinstance(drawn, list) else []
    return f"; best of {len(known)} draws {share(max(known))}" if len(known) > 1 else ""


def _control(arm: Arm) -> str:
    method, found = str(arm.data.get("method")), _edit(arm)
    if method == "same_vector" and found:
        turned = "turned round " if ": -" in str(arm.data["steering"][0]) else ""
        return f"the same vector {turned}{found[1]}"
    return _CONTROLS.get(method, arm.short.lstrip("/"))


def _blamed(arm: Arm) -> str:
    """What is shown not to matter when a control moves as much as its parent."""
    method = str(arm.data.get("method"))
    if method.startswith("random"):
        return "its direction"
    return "its position or sign" if method == "same_vector" else f"what {arm.short.lstrip('/')} changes"


def _none(panel: Panel, rivals: list[Arm]) -> str:
    """No inference-time arm has a notable gain: say how much can be said."""
    measured = [arm for arm in rivals if arm.versus("vs_base").figure.value is not None]
    if not measured:
        return f"On {panel.model} no inference-time arm was measured."
    assert panel.base is not None
    best = max(measured, key=lambda arm: arm.versus("vs_base").figure.value or 0.0)
    over = f"over the base ({share(panel.base.accuracy.value)})"
    largest = f"the largest difference is {best.name}'s, {points(best.versus('vs_base').figure)}"
    uppers = {arm.name: arm.versus("vs_base").figure.high for arm in measured}
    open_still = [name for name, high in uppers.items() if high is None or high > NOTABLE]
    if not open_still:
        return f"On {panel.model} no inference-time arm gains more than 10 points {over}: {largest}."
    return (
        f"On {panel.model} no inference-time arm is shown to gain 10 points {over}: {largest}; more is not ruled out "
        f"for {_listed(open_still)}."
    )


def _trained(panel: Panel, leader: Arm | None) -> list[str]:
    """What trained arms gain, and whether that can be called elicitation."""
    said = []
    for arm in panel.arms:
        change = arm.versus("vs_base").figure
        if not arm.trained or arm.role not in ("reference", "arm") or change.value is None:
            continue
        name = described(arm)
        if not gains(arm):
            verb = "loses accuracy" if change.high is not None and change.high < 0 else "shows no gain"
            said.append(f"{name} {verb} ({points(change)}).")
            continue
        rivalry = "" if arm.role == "reference" else f", {_against_sft(panel, arm)}"
        text = f"{name} {_reached(panel, arm)}{rivalry}"
        if leader is None and arm.gap.value is None:
            text += (
                "; neither the ceiling nor any inference-time arm shows the ability in this model, so this is teaching"
                if panel.top is not None
                else "; no ceiling was measured, so it is open whether this is elicited or taught"
            )
        said.append(f"{text}.")
        if arm.role == "arm" and notable(arm):
            specific = _specificity(panel, arm)
            said.append(
                specific
                if specific.startswith("No ")
                else f"Controls of {arm.name}: {specific[0].lower()}{specific[1:]}"
            )
    return said


def _withheld(panel: Panel) -> str:
    """Why shares of the gap are missing."""
    if panel.top is None:
        return "No ceiling was measured, so no share of a gap is given."
    if any(arm.gap.value is not None for arm in panel.arms):
        return ""
    assert panel.base is not None
    top = f"{ceiling_name(panel.top)} {share(estimate(panel.top).value)}"
    return f"No clear ceiling ({top}, base {share(panel.base.accuracy.value)}): shares of the gap are withheld."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]

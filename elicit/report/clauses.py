"""What can be said of one arm: how far it came, beside SFT, its controls, its rival at the same cost, its leak."""

from __future__ import annotations

from collections.abc import Iterator

from elicit.report.evidence import EVIDENCE
from elicit.report.figures import Arm, Figure, Panel, dig, number
from elicit.report.phrases import blamed, control, described, listed, points, probability, sentence, share
from elicit.report.written import fraction, interval, percent

NOTABLE = 0.10
ALPHA = 0.05


def gains(arm: Arm) -> bool:
    """Whether an arm is above the base beyond chance."""
    found = arm.versus("vs_base")
    p = found.p if found.p_holm is None else found.p_holm
    return found.figure.low is not None and found.figure.low > 0 and p is not None and p < ALPHA


def notable(arm: Arm) -> bool:
    return gains(arm) and (arm.versus("vs_base").figure.value or 0.0) >= NOTABLE


def reached(panel: Panel, arm: Arm) -> str:
    """How far an arm has come from the base: as a share of the gap where that is known, else in points."""
    if arm.gap.value is not None and panel.top is not None:
        return f"recovers {fraction(arm.gap)} of the gap"
    base = "an unknown level" if panel.base is None else share(panel.base.accuracy.value)
    return f"raises accuracy from {base} to {share(arm.accuracy.value)} ({points(arm.versus('vs_base').figure)})"


def against_sft(panel: Panel, arm: Arm) -> str:
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
    chance = probability(p, "Holm p" if found.p_holm is not None else "p")
    return f"{word} {described(sft)} ({points(found.figure)}, {chance})"


def variants(panel: Panel, arm: Arm) -> list[Arm]:
    """Arms named after this one that run the same method: other settings of it, no controls."""
    return [one for one in panel.arms if one.parent == arm.name and one.data.get("method") == arm.data.get("method")]


def controlled(panel: Panel, arm: Arm) -> bool:
    """Whether a control of the arm was measured."""
    others = variants(panel, arm)
    return any(
        one.parent == arm.name and one not in others and one.versus("vs_base").figure.value is not None
        for one in panel.arms
    )


def specificity(panel: Panel, leader: Arm) -> str:
    """What the controls of an arm do."""
    own = leader.versus("vs_base").figure
    found: dict[str, list[str]] = {"as much": [], "in part": [], "no": [], "lower": []}
    blame = []
    for arm in (arm for arm in panel.arms if arm.parent == leader.name and arm not in variants(panel, leader)):
        moved = arm.versus("vs_base").figure
        if moved.value is None or not moved.bounded or arm.data.get("method") in EVIDENCE:
            continue
        spoken = f"{control(arm)} ({points(moved)}{_best_draw(arm)})"
        if moved.value > 0 and _keeps_up(arm, moved, own):
            found["as much"].append(spoken)
            blame.append(blamed(arm))
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
        tied = listed(list(dict.fromkeys(blame)))
        parts.append(f"not specific: as much with {listed(found['as much'])}, so the effect is not tied to {tied}")
    if found["in part"]:
        parts.append(f"a part of it with {listed(found['in part'])}")
    if found["no"]:
        parts.append(f"no gain with {listed(found['no'])}")
    if found["lower"]:
        parts.append(f"a loss with {listed(found['lower'])}")
    return sentence("; ".join(parts))


def _keeps_up(arm: Arm, moved: Figure, own: Figure) -> bool:
    """Whether a control is not shown to fall short of its parent; by overlapping intervals where nothing is paired."""
    paired = arm.versus("vs_parent").figure
    if paired.bounded:
        return paired.high is None or paired.high >= 0
    return moved.high is not None and own.low is not None and moved.high >= own.low


def _best_draw(arm: Arm) -> str:
    """`; best of 10 draws 3.5 %`, for a control that is drawn anew by every seed."""
    drawn = arm.data.get("seed_accuracies")
    known = [value for one in drawn if (value := number(one)) is not None] if isinstance(drawn, list) else []
    return f"; best of {len(known)} draws {share(max(known))}" if len(known) > 1 and not arm.trained else ""


def rival(arm: Arm) -> Iterator[str]:
    """The base's majority vote at the same tokens, with and without the fit's."""
    for key, cost in (("rival", "at the same tokens"), ("rival_total", "with the fit's tokens included")):
        found, k = arm.versus(key, "difference").figure, number(dig(arm.data, key, "k"))
        if found.value is None or not found.bounded or k is None:
            continue
        word = "no more than"
        if found.low is not None and found.low > 0:
            word = "more than"
        elif found.high is not None and found.high < 0:
            word = "less than"
        if key == "rival_total" and word == "more than":
            continue  # said once; only a rival that catches up when the fit is counted is news
        votes = f"majority vote of {k:.0f}" if k > 1 else "single sample"
        held = ", all it has" if dig(arm.data, key, "capped") is True else ""
        yield f"{word[0].upper()}{word[1:]} the base's {votes}{held} {cost} ({points(found)})."


def sharpening(arm: Arm) -> Iterator[str]:
    """What the arm gains at the first sample, and what it solves that the base never did."""
    sharp, new = arm.versus("sharpening").figure, arm.estimate("expansion", "solved_only_by_arm")
    parts = []
    if sharp.value is not None:
        word = "sharpens" if sharp.low is not None and sharp.low > 0 else "not shown to sharpen"
        parts.append(f"{word}: {points(sharp)} at pass@1")
    k = number(dig(arm.data, "expansion", "k"))
    if new.value is not None and new.n and k is not None:
        solved, traced = round(new.value * new.n), dig(arm.data, "expansion", "valid_trace") is True
        bounds = f", at most {share(new.high)}" if new.high is not None else ""
        if solved:
            bounds = f", {share(new.value)} {interval(new)}"
        with_trace = " with a valid trace" if traced else ""
        other = arm.estimate("expansion", "solved_only_by_base")
        if other.value is not None and other.n:
            bounds += f"; {round(other.value * other.n)} the other way round"
        parts.append(f"expansion: {solved} of {new.n} problems{with_trace} that base@{k:.0f} never solved{bounds}")
    cross = number(arm.data.get("crossover_k"))
    if cross is not None and parts:
        parts.append(f"the base overtakes at k = {cross:.0f}")
    if parts:
        yield sentence("; ".join(parts))


def leak(arm: Arm) -> Iterator[str]:
    """What the same arm gains where there is nothing to bring out."""
    found = arm.versus("leak").figure
    if found.value is None:
        return
    where = str(dig(arm.data, "leak", "model") or "a model without the ability")
    if arm.verifier:
        yield f"On {where} {points(found)}, by the verifier it consults."
    elif found.low is not None and found.low > 0:
        yield f"Teaches: on {where}, which never had the ability, {points(found)}."
    else:
        lost = found.high is not None and found.high < 0
        yield f"On {where} {'a loss' if lost else 'no gain'} ({points(found)})."


def no_gain(arms: list[Arm]) -> str:
    """Nothing notable: say how much can be said."""
    measured = [arm for arm in arms if arm.versus("vs_base").figure.value is not None]
    if not measured:
        return "nothing was measured"
    best = max(measured, key=lambda arm: arm.versus("vs_base").figure.value or 0.0)
    largest = f"the largest difference is {best.name}'s, {points(best.versus('vs_base').figure)}"
    uppers = {arm.name: arm.versus("vs_base").figure.high for arm in measured}
    still = [name for name, high in uppers.items() if high is None or high > NOTABLE]
    lost = [arm for arm in measured if (arm.versus("vs_base").figure.high or 0.0) < 0]
    down = f" {listed([arm.name for arm in lost])} {'lose' if len(lost) > 1 else 'loses'} accuracy." if lost else ""
    if not still:
        return f"no arm gains more than 10 points over the base: {largest}.{down}".rstrip(".")
    named = listed(still) if len(still) < 5 else f"{len(still)} of {len(measured)} arms"
    return (
        f"no arm is shown to gain 10 points over the base: {largest}; more is not ruled out for {named}.{down}"
    ).rstrip(".")


def level(panel: Panel, arm: Arm) -> str:
    """A share of the gap, or points where it is withheld, in brief."""
    if arm.gap.value is not None and panel.top is not None:
        return fraction(arm.gap)
    found = arm.versus("vs_base").figure
    return f"{percent(found.value, signed=True)} points {interval(found)}".strip()

"""What the figures of a run allow to be said, in sentences, by rules. No model, no judgement, no rounding up.

1. A *gain* of an arm is a paired difference to the base whose interval lies above 0 and whose Holm p is below 0.05; it
   is *notable* from 10 points. Families of mechanism (`families`) are judged one by one. Of a family's notable arms one
   speaks for it: `sft` itself, else an arm with controls before one without, then the one of highest accuracy. Every
   other arm is said in the details. An arm that consults the verifier while answering is marked and speaks for none.
2. A share of the gap is quoted only where the summary gives one; a withheld share is said to be withheld, and why.
3. A control that raises accuracy and is not shown to fall short of its parent (paired over the same problems) moves *as
   much*: the effect is then not specific. One whose interval lies above 0 moves *in part*. An arm named after one of
   the same method is a variant of it, no control. What supports a feature rather than controlling for it (a second SAE,
   its natural value, its removal) is said apart (`evidence`).
4. "No arm gains more than 10 points" needs intervals that end below 10 points; else larger gains are "not ruled out".
5. What an arm gains on a model that never had the ability is taught. So is what a trained arm gains where neither the
   ceiling nor any inference-time arm shows the ability.
6. The rival of an arm is the base's majority vote at the same tokens: the arm is *more than* it only if the paired
   interval lies above 0. With the fit's tokens included it is said only where the rival then keeps up.
7. An arm *sharpens* if its interval at pass@1 lies above the base's; expansion is counted with its K, and beside it
   what only the base solves: at a small K two draws of the same model differ too.
8. Failed and unfinished arms and seeds, single training seeds, choices made on test problems, traces without accuracy,
   and losses off the target are always added (`cautions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from elicit.report import clauses
from elicit.report.cautions import cautions
from elicit.report.clauses import gains, notable
from elicit.report.evidence import necessity, support
from elicit.report.families import FAMILIES, Family
from elicit.report.figures import Arm, Panel, estimate, panels
from elicit.report.phrases import described, listed, points, sentence, share
from elicit.report.written import ceiling_name, p_value


class Said(NamedTuple):
    """What is said of one family."""

    family: str
    sentences: tuple[str, ...]


class Verdict(NamedTuple):
    model: str
    task: str
    lead: str
    """The whole comparison in one sentence."""
    families: tuple[Said, ...]
    closing: tuple[str, ...]
    details: tuple[Said, ...]
    """Arms that do not speak for their family."""
    cautions: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything but details and cautions, in order."""
        return (self.lead, *(text for said in self.families for text in said.sentences), *self.closing)


def verdicts(summary: Mapping[str, Any]) -> list[Verdict]:
    """One verdict for each model and task."""
    return [judge(panel) for panel in panels(summary)]


def judge(panel: Panel) -> Verdict:
    """The sentences that one model's figures allow."""
    if panel.base is None:
        state = next((arm.status for arm in panel.role("base")), "not part of this comparison")
        lead = f"On {panel.model} nothing can be concluded: the base arm is {state}, so no gain is known."
        return Verdict(panel.model, panel.task, lead, (), (), (), tuple(cautions(panel, None, set())))
    gaining = {arm.name for arm in panel.arms if notable(arm)}
    members = _members(panel)
    best = {key: arm for key, arms in members.items() if (arm := _best(panel, arms, gaining)) is not None}
    leader = max(
        (arm for arm in best.values() if not arm.trained), key=lambda arm: arm.accuracy.value or 0.0, default=None
    )
    families = [Said(name, tuple(_family(panel, arms, arm, leader))) for name, arms, arm in _spoken_for(members, best)]
    closing = [*necessity(panel), *_withheld(panel)]
    details = [
        Said(arm.name, tuple(_of(panel, arm, leader)))
        for key, arms in members.items()
        for arm in arms
        if arm is not best.get(key) and arm.versus("vs_base").figure.value is not None
    ]
    return Verdict(
        panel.model,
        panel.task,
        _lead(panel, members, best),
        tuple(families),
        tuple(closing),
        tuple(details),
        tuple(cautions(panel, leader, gaining)),
    )


def _members(panel: Panel) -> dict[str, list[Arm]]:
    """Arms that are nobody's control, by family; without families of which nothing was run."""
    found: dict[str, list[Arm]] = {}
    for arm in panel.arms:
        if arm.role in ("arm", "reference"):
            found.setdefault(arm.family.key, []).append(arm)
    whole = {key: [arm for arm in arms if arm.parent is None] or arms for key, arms in found.items()}
    return {key: arms for key, arms in whole.items() if _measured(arms) or any(arm.failures for arm in arms)}


def _measured(arms: list[Arm]) -> bool:
    return any(arm.accuracy.value is not None for arm in arms)


def _best(panel: Panel, arms: list[Arm], gaining: set[str]) -> Arm | None:
    """The arm that speaks for a family (rule 1); None without a notable one."""

    def rank(arm: Arm) -> tuple[bool, bool, float]:
        return arm.role == "reference", clauses.controlled(panel, arm), arm.accuracy.value or 0.0

    return max((arm for arm in arms if arm.name in gaining and not arm.verifier), key=rank, default=None)


def _spoken_for(
    members: Mapping[str, list[Arm]], best: Mapping[str, Arm]
) -> Iterator[tuple[str, list[Arm], Arm | None]]:
    """(name, arms, who speaks) of what is said together: families without a notable arm are one, if they are many."""
    quiet = [key for key in members if key not in best]
    for key, arms in members.items():
        if key in best or len(quiet) < 3:
            yield FAMILIES[key].name, arms, best.get(key)
    if len(quiet) >= 3:
        names = "; ".join(_called(FAMILIES[key]) for key in quiet)
        yield names[0].upper() + names[1:], [arm for key in quiet for arm in members[key]], None


def _lead(panel: Panel, members: Mapping[str, list[Arm]], best: Mapping[str, Arm]) -> str:
    """Which mechanisms bring the ability out, the furthest first."""
    assert panel.base is not None
    known = f"the base answers {share(panel.base.accuracy.value)}"
    if panel.top is not None and estimate(panel.top).value is not None:
        known += f" and the {ceiling_name(panel.top)} {share(estimate(panel.top).value)}"
    where = f"On {panel.model}, where {known} of {panel.n} problems right"
    if panel.capable is False:
        where += ", and which never had the ability"
    members = {key: arms for key, arms in members.items() if _measured(arms)}
    if not members:
        return f"{where}, no other arm was {'compared' if len(panel.arms) < 2 else 'run to its end'}."
    ranked = sorted(best.items(), key=lambda item: -(item[1].accuracy.value or 0.0))
    spoken = [f"{_called(FAMILIES[key])} {clauses.level(panel, arm)} ({arm.name})" for key, arm in ranked]
    missing = [_called(FAMILIES[key]) for key in members if key not in best]
    if not spoken:
        return f"{where}, no mechanism is shown to gain 10 points."
    shares = any(arm.gap.value is not None for arm in best.values())
    unit = "of the gap to the ceiling" if shares and panel.top is not None else "over the base"
    verb = "gains" if len(spoken) == 1 else "gain"
    rest = f"; not shown for {listed(missing)}" if missing else ""
    return (
        f"{where}, {len(spoken)} of {len(members)} mechanisms {verb} 10 points or more. In shares {unit}: "
        f"{listed(spoken)}{rest}."
    ).replace("In shares over the base", "Over the base")


def _called(family: Family) -> str:
    """A family's name inside a sentence."""
    return family.name if family.name.startswith("RL") else family.name[0].lower() + family.name[1:]


def _family(panel: Panel, arms: list[Arm], best: Arm | None, leader: Arm | None) -> Iterator[str]:
    """One family: the arm that speaks for it, then the others by name."""
    if best is None:
        rivals = [arm for arm in arms if not arm.verifier]
        most = max((arm.versus("vs_base").figure.value or 0.0 for arm in rivals), default=0.0)
        taught = [
            arm
            for arm in rivals
            if gains(arm) and (_taught(panel, arm, leader) or arm.versus("vs_base").figure.value != most)
        ]
        yield sentence(clauses.no_gain(rivals or arms))
        for arm in arms:
            if arm.role == "reference" and not gains(arm) and arm.versus("vs_base").figure.value is not None:
                yield _null(arm)
        for arm in taught:
            gained = points(arm.versus("vs_base").figure)
            yield f"{described(arm)} gains a little ({gained}){_taught(panel, arm, leader)}."
    else:
        yield from _of(panel, best, leader)
    others = [arm for arm in arms if arm is not best and arm.versus("vs_base").figure.value is not None]
    more = [f"{arm.name} {clauses.level(panel, arm)}" for arm in others if notable(arm) and not arm.verifier]
    less = [arm.name for arm in others if not notable(arm) and not arm.verifier]
    if more:
        yield f"Also: {', '.join(more)}."
    if less and best is not None:
        yield f"Not shown to gain 10 points: {', '.join(less)}."
    for arm in arms:
        if arm.verifier and arm.accuracy.value is not None:
            right = share(arm.accuracy.value)
            yield f"{arm.name} consults the verifier while answering ({right}): no rival of the others."


def _of(panel: Panel, arm: Arm, leader: Arm | None) -> Iterator[str]:
    """Everything that can be said of one arm."""
    name = described(arm)
    if not gains(arm):
        yield _null(arm)
    else:
        rivalry = "" if arm.role == "reference" else f", {clauses.against_sft(panel, arm)}"
        yield f"{name} {clauses.reached(panel, arm)}{rivalry}{_taught(panel, arm, leader)}."
    if notable(arm) and arm.role != "reference":
        yield clauses.specificity(panel, arm)
    tried = [one for one in clauses.variants(panel, arm) if one.accuracy.value is not None]
    if tried:
        yield f"Variants: {', '.join(f'{one.short} {clauses.level(panel, one)}' for one in tried)}."
    yield from support(panel, arm)
    if gains(arm):
        yield from clauses.rival(arm)
        yield from clauses.sharpening(arm)
    yield from clauses.leak(arm)


def _null(arm: Arm) -> str:
    found = arm.versus("vs_base")
    change = found.figure
    if change.low is not None and change.low > 0:  # clear of 0 by itself, but not among so many arms
        corrected = f"{points(change)}, Holm p = {p_value(found.p_holm)}"
        return f"{described(arm)} is not shown to gain among so many arms ({corrected})."
    verb = "loses accuracy" if change.high is not None and change.high < 0 else "shows no gain"
    return f"{described(arm)} {verb} ({points(change)})."


def _taught(panel: Panel, arm: Arm, leader: Arm | None) -> str:
    """Whether a gain can be called elicitation."""
    if arm.verifier:
        return ", by the verifier it consults"
    if panel.capable is False:
        return "; this model never had the ability, so this is teaching"
    if not arm.trained or leader is not None or arm.gap.value is not None:
        return ""
    if panel.top is None:
        return "; no ceiling was measured, so it is open whether this is elicited or taught"
    return "; neither the ceiling nor any inference-time arm shows the ability in this model, so this is teaching"


def _withheld(panel: Panel) -> Iterator[str]:
    """Why shares of the gap are missing."""
    if panel.top is None:
        yield "No ceiling was measured, so no share of a gap is given."
    elif all(arm.gap.value is None for arm in panel.arms) and panel.base is not None:
        top = f"{ceiling_name(panel.top)} {share(estimate(panel.top).value)}"
        yield f"No clear ceiling ({top}, base {share(panel.base.accuracy.value)}): shares of the gap are withheld."

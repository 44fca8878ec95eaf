"""A feature's figures as text: those at the head of its page, and the whole page for a terminal."""

from __future__ import annotations

from elicit.text import visible
from saes.dashboard import plots
from saes.dashboard.bands import Activity, Example
from saes.dashboard.panels import measured
from saes.dashboard.studies import Study
from saes.dashboard.text import Vocabulary, number, percent, plain, signed, span

_EXAMPLES = 5


def page(study: Study, feature: int, activity: Activity) -> str:
    """The page's figures, a line each."""
    sae, words = study.sae, study.vocabulary
    lines = [f"Feature {feature} of {sae.name}, {sae.manifest.hook} of {sae.manifest.model}"]
    lines += [f"  {name}: {value} ({note})" for name, value, note in figures(study, feature)]
    effect = study.lens.of(feature) if study.lens is not None else None
    if effect is not None:
        for name, side in (("raises", effect.raised), ("lowers", effect.lowered)):
            listed = ", ".join(f"{plain(words.text(i))!r} {signed(value)}" for i, value in side)
            lines.append(f"  {name}: {listed} (n = {effect.tokens:,} tokens of the vocabulary)")
    difference = study.contrast.of(feature) if study.contrast is not None else None
    if study.contrast is not None and difference is not None:
        positive, negative = study.contrast.names
        lines.append(
            f"  at the last prompt token: {negative} {measured(difference.negative)}; {positive} "
            f"{measured(difference.positive)}; difference {measured(difference.paired)}"
        )
    near = ", ".join(f"{other} ({signed(value)})" for other, value in study.nearest(feature))
    lines.append(f"  nearest by cosine: {near}")
    if together := study.together(feature):
        listed = ", ".join(f"{other} ({signed(value)})" for other, value in together)
        lines.append(f"  fires together with: {listed} (correlation over {activity.tokens:,} tokens)")
    for dose in study.doses.get(feature, ()):
        for point in sorted(dose.points, key=lambda p: float(p["strength"])):
            right, traced = plots.accuracy(point), plots.trace_rate(point)
            said = [f"{percent(e.value)} % {span(e.ci, 100)}" if e else "–" for e in (right, traced)]
            lines.append(
                f"  {dose.label}, layer {point.get('layer')}, strength {float(point['strength']):g} {dose.unit}: "
                f"accuracy {said[0]}, traces {said[1]} (n = {point['n']})"
            )
    lines += [f"  {number(shown.value):>6}  {_example(shown, words)}" for shown in activity.top[:_EXAMPLES]]
    return "\n".join(visible(line) for line in lines)


def figures(study: Study, feature: int) -> list[tuple[str, str, str]]:
    """The figures at the head of a page: (name, value, what it is counted over)."""
    activity, one = study.found.of(feature), study.sae.feature(feature)
    firings = f"{activity.count:,} firings"
    found = [
        ("density", f"{percent(activity.density)} %", f"of {activity.tokens:,} tokens"),
        ("largest activation", number(activity.maximum if activity.count else None), f"of {firings}"),
        ("mean where it fires", number(activity.mean), f"over {firings}"),
        ("decoder norm", number(one.norm), "residual length per unit"),
    ]
    norm = study.sae.manifest.norm
    if norm and study.sae.linear and activity.count:
        share = number(activity.maximum * one.norm / norm)
        found.append(("largest in residual norms", share, f"of {number(norm)}, the layer's median"))
    return found


def _example(shown: Example, words: Vocabulary) -> str:
    texts = [plain(words.text(i)) for i in shown.ids]
    texts[shown.peak] = f"«{texts[shown.peak]}»"
    return ("" if shown.opens else "…") + "".join(texts) + ("" if shown.closes else "…")

"""A feature's figures as text: those at the head of its page, and the whole page for a terminal."""

from __future__ import annotations

from elicit.text import reveal_hidden
from saes.dashboard import plots
from saes.dashboard.bands import Activity, Example
from saes.dashboard.panels import format_estimate
from saes.dashboard.studies import Study
from saes.dashboard.text import Vocabulary, format_interval, format_number, format_percent, format_signed, format_token

_EXAMPLES = 5


def render_plain_page(study: Study, feature: int, activity: Activity) -> str:
    """The page's figures, a line each."""
    sae, words = study.sae, study.vocabulary
    lines = [f"Feature {feature} of {sae.name}, {sae.manifest.hook} of {sae.manifest.model}"]
    lines += [f"  {name}: {value} ({note})" for name, value, note in collect_figures(study, feature)]
    effect = study.lens.get_effect(feature) if study.lens is not None else None
    if effect is not None:
        for name, side in (("raises", effect.raised), ("lowers", effect.lowered)):
            listed = ", ".join(f"{format_token(words.text(i))!r} {format_signed(value)}" for i, value in side)
            lines.append(f"  {name}: {listed} (n = {effect.tokens:,} tokens of the vocabulary)")
    difference = study.contrast.get_difference(feature) if study.contrast is not None else None
    if study.contrast is not None and difference is not None:
        positive, negative = study.contrast.names
        lines.append(
            f"  at the last prompt token: {negative} {format_estimate(difference.negative)}; {positive} "
            f"{format_estimate(difference.positive)}; difference {format_estimate(difference.paired)}"
        )
    near = ", ".join(f"{other} ({format_signed(value)})" for other, value in study.find_nearest(feature))
    lines.append(f"  nearest by cosine: {near}")
    if together := study.find_correlated(feature):
        listed = ", ".join(f"{other} ({format_signed(value)})" for other, value in together)
        lines.append(f"  fires together with: {listed} (correlation over {activity.tokens:,} tokens)")
    for dose in study.doses.get(feature, ()):
        for point in sorted(dose.points, key=lambda p: float(p["strength"])):
            right, traced = plots.read_accuracy(point), plots.read_trace_rate(point)
            rates = [f"{format_percent(e.value)} % {format_interval(e.ci, 100)}" if e else "–" for e in (right, traced)]
            lines.append(
                f"  {dose.label}, layer {point.get('layer')}, strength {float(point['strength']):g} {dose.unit}: "
                f"accuracy {rates[0]}, traces {rates[1]} (n = {point['n']})"
            )
    lines += [
        f"  {format_number(example.value):>6}  {_format_example(example, words)}"
        for example in activity.top[:_EXAMPLES]
    ]
    return "\n".join(reveal_hidden(line) for line in lines)


def collect_figures(study: Study, feature: int) -> list[tuple[str, str, str]]:
    """The figures at the head of a page: (name, value, what it is counted over)."""
    activity, sae_feature = study.collected.get_activity(feature), study.sae.feature(feature)
    firings = f"{activity.count:,} firings"
    entries = [
        ("density", f"{format_percent(activity.density)} %", f"of {activity.tokens:,} tokens"),
        ("largest activation", format_number(activity.maximum if activity.count else None), f"of {firings}"),
        ("mean where it fires", format_number(activity.mean), f"over {firings}"),
        ("decoder norm", format_number(sae_feature.norm), "residual length per unit"),
    ]
    norm = study.sae.manifest.norm
    if norm and study.sae.linear and activity.count:
        share = format_number(activity.maximum * sae_feature.norm / norm)
        entries.append(("largest in residual norms", share, f"of {format_number(norm)}, the layer's median"))
    return entries


def _format_example(example: Example, words: Vocabulary) -> str:
    texts = [format_token(words.text(i)) for i in example.ids]
    texts[example.peak] = f"«{texts[example.peak]}»"
    return ("" if example.opens else "…") + "".join(texts) + ("" if example.closes else "…")

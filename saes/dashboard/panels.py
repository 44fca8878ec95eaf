"""The parts of a feature's page, each as an HTML fragment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from elicit.schema import Estimate
from elicit.text import escape_html
from saes.dashboard import plots
from saes.dashboard.bands import Activity, Example
from saes.dashboard.contrasting import Contrast, Prompt
from saes.dashboard.lens import Effect
from saes.dashboard.studies import Dose, Neighbour, Study
from saes.dashboard.text import Vocabulary, format_interval, format_number, format_percent, format_signed, render_token

#: Shades a token's background has.
SHADES = 8
Link = Callable[[int], str | None]


def render_tokens(
    ids: Sequence[int],
    activations: Sequence[float],
    words: Vocabulary,
    largest: float,
    peak: int | None = None,
    *,
    titles: bool = True,
) -> str:
    """Running text, each firing token shaded by its share of `largest`, with its exact activation as a tooltip."""
    pieces = []
    for position, (index, value) in enumerate(zip(ids, activations, strict=True)):
        body = render_token(words.text(index))
        css = ["s"] if index in words.special else []
        if value > 0:
            css.insert(0, f"a{min(SHADES, max(1, math.ceil(SHADES * value / largest)))}")
        if position == peak:
            css.append("p")
        tooltip = "not read by the SAE" if math.isnan(value) else f"{format_exact(value)} · token {index}"
        title = f' title="{tooltip}"' if titles else ""
        if value > 0 or position == peak:
            pieces.append(f'<mark class="{" ".join(css)}"{title}>{body}</mark>')
        elif css:
            pieces.append(f"<span class='s'{title}>{body}</span>")
        else:
            pieces.append(body)
    return "".join(pieces)


def format_exact(value: float) -> str:
    """An activation with six significant digits."""
    return "–" if math.isnan(value) else f"{value:.6g}"


def render_example(entry: Example, words: Vocabulary, largest: float) -> str:
    body = render_tokens(entry.ids, entry.activations, words, largest, entry.peak)
    before = "" if entry.opens else '<span class="cut">…</span>'
    after = "" if entry.closes else '<span class="cut">…</span>'
    return (
        f'<li><span class="v" title="{format_exact(entry.value)}">{format_number(entry.value, 4)}</span>'
        f'<code dir="ltr">{before}{body}{after}</code></li>'
    )


def render_examples(activity: Activity, words: Vocabulary) -> str:
    """Top examples, then those sampled from each band."""
    if not activity.count:
        return "<p>It does not fire on this text.</p>"
    count = len(activity.top)
    parts = [
        f"<h3>Strongest <span class='note'>{count} of {activity.count:,} firings: one a sequence, contexts once</span>"
        "</h3>",
        _render_example_list(activity.top, words, activity.maximum),
    ]
    for band in activity.bands:
        low, high = band.quantiles
        sampling_note = f"{len(band.examples)} drawn at random" if band.examples else "none among those sampled"
        note = (
            f"activation {format_number(band.low)} to {format_number(band.high)} · {band.count:,} firings "
            f"({format_percent(band.count / activity.count)} %), {sampling_note}"
        )
        parts.append(f"<h3>Quantiles {100 * low:.0f} to {100 * high:.0f} % <span class='note'>{note}</span></h3>")
        parts.append(_render_example_list(band.examples, words, activity.maximum))
    return "".join(parts)


def _render_example_list(entries: Sequence[Example], words: Vocabulary, largest: float) -> str:
    return f'<ol class="ex">{"".join(render_example(entry, words, largest) for entry in entries)}</ol>'


def render_scale(largest: float) -> str:
    """The legend of the shading."""
    steps = "".join(f'<i class="a{i}"></i>' for i in range(1, SHADES + 1))
    return f'<p class="scale note">activation 0 <span aria-hidden="true">{steps}</span> {format_number(largest)}</p>'


def render_histogram(activity: Activity) -> str:
    zeros = activity.tokens - activity.count
    note = (
        f"<p class='note'>Above 0 on {activity.count:,} of {activity.tokens:,} tokens "
        f"({format_percent(activity.density)} %), "
        f"zero on {zeros:,}.</p>"
    )
    return f"<h2>Activations</h2>{plots.plot_activations(activity.histogram, zeros)}{note}"


def render_lens(effect: Effect, words: Vocabulary) -> str:
    rows = [
        _render_logit(up, words) + _render_logit(down, words)
        for up, down in zip(effect.raised, effect.lowered, strict=True)
    ]
    table = _render_table(("raises", "lowers"), rows, "lens", span=2)
    return (
        f"<h2>Logit lens</h2>{table}"
        f"{plots.plot_logits(effect.edges, effect.counts)}"
        "<p class='note'>Logits that the final norm and the unembedding make of the decoder row alone, less their mean "
        f"over the vocabulary (n = {effect.tokens:,} tokens). What the feature writes, not all it does.</p>"
    )


def _render_logit(entry: tuple[int, float], words: Vocabulary) -> str:
    index, value = entry
    css = ' class="s"' if index in words.special else ""
    body = render_token(words.text(index), alone=True)
    return f'<td><code title="token {index}"{css}>{body}</code></td><td class="r">{format_signed(value)}</td>'


def render_neighbours(title: str, note: str, entries: Sequence[Neighbour], study: Study, link: Link) -> str:
    if not entries:
        return ""
    rows = []
    for feature, value in entries:
        effect = study.lens.get_effect(feature) if study.lens else None
        raised = (
            render_token(study.vocabulary.text(effect.raised[0][0]), alone=True) if effect and effect.raised else ""
        )
        code = f"<code>{raised}</code>" if raised else ""
        rows.append(f'<td>{link_feature(feature, link)}</td><td class="r">{format_signed(value)}</td><td>{code}</td>')
    return f"<h2>{title}</h2>{_render_table(('feature', note, 'raises most'), rows, 'near')}"


def render_basis(row: Float[np.ndarray, " d_model"]) -> str:
    """The decoder row's largest entries: other dashboards show them as neuron alignment."""
    total = np.abs(row).sum()
    rows = [
        f'<td>{i}</td><td class="r">{format_signed(float(row[i]))}</td><td '
        f'class="r">{format_percent(abs(row[i]) / total)} %</td>'
        for i in np.argsort(-np.abs(row), kind="stable")[:3]
    ]
    table = _render_table(("dimension", "value", "share of L1"), rows, "basis")
    return f"<details><summary>Largest entries of the decoder row</summary>{table}</details>"


def _render_table(heads: Sequence[str], rows: Sequence[str], css: str, *, span: int = 1) -> str:
    scope = f'colspan="{span}" scope="colgroup"' if span > 1 else 'scope="col"'
    head = "".join(f"<th {scope}>{name}</th>" for name in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def link_feature(feature: int, link: Link) -> str:
    target = link(feature)
    return str(feature) if target is None else f'<a href="{escape_html(target)}">{feature}</a>'


def render_contrast(contrast: Contrast, feature: int, words: Vocabulary, largest: float) -> str:
    """The same problems under both conditions, and the means at the last prompt token."""
    difference = contrast.get_difference(feature)
    if difference is None:
        return ""
    positive, negative = contrast.names
    largest = max(
        [largest, *(a for pair in difference.prompt_pairs for side in pair for a in side.activations if a > 0)]
    )
    panels = []
    for name, side, estimate in ((negative, 1, difference.negative), (positive, 0, difference.positive)):
        rows = "".join(_render_prompt(pair[side], words, largest) for pair in difference.prompt_pairs)
        panels.append(
            f'<div class="panel"><h3>{escape_html(name)} <span class="note">at the last prompt token '
            f"{format_estimate(estimate)}"
            f'</span></h3><ol class="ex">{rows}</ol></div>'
        )
    chart = plots.plot_means(
        [(negative, difference.negative), (positive, difference.positive), ("difference", difference.paired)]
    )
    return (
        f"<h2>{escape_html(positive.capitalize())} against {escape_html(negative)}</h2>"
        f'<div class="pair">{"".join(panels)}</div>'
        f'<div class="pair"><div>{chart}</div><p class="note">Mean activation at the last prompt token with 95 % t '
        f"intervals over problems; the difference is paired: {format_estimate(difference.paired)}. The problems "
        "shown are "
        "the first of them, not chosen; the number at their left is the activation at the last token.</p></div>"
    )


def _render_prompt(prompt: Prompt, words: Vocabulary, largest: float) -> str:
    last = prompt.activations[-1]
    body = render_tokens(prompt.ids, prompt.activations, words, largest, len(prompt.ids) - 1)
    return (
        f'<li><span class="v" title="{format_exact(last)}">{format_number(last, 4)}</span><code '
        f'dir="ltr">{body}</code></li>'
    )


def format_estimate(estimate: Estimate) -> str:
    """A mean with its interval and n; without an interval, why."""
    ci = format_interval(estimate.ci) or ("(all equal)" if estimate.n > 1 else "(no interval)")
    return f"{format_number(estimate.value)} {ci}, n = {estimate.n}"


def render_doses(doses: Sequence[Dose]) -> str:
    """Accuracy and trace rate against strength, one chart a curve and layer."""
    charts = []
    for dose in doses:
        for layer in dict.fromkeys(point.get("layer") for point in dose.points):
            points = [point for point in dose.points if point.get("layer") == layer]
            counts = sorted({int(point["n"]) for point in points})
            n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
            title = f"{dose.label}, layer {layer}"
            charts.append(
                f"<figure>{plots.plot_doses(points, f'{title}: accuracy and trace rate over strength', dose.unit)}"
                f"<figcaption class='note'>{escape_html(title)}; {n} problems a point</figcaption></figure>"
            )
    if not charts:
        return ""
    key = (
        '<p class="note"><span class="key right"></span> accuracy % <span class="key trace"></span> trace rate %, '
        "with 95 % Wilson intervals. Strengths are spaced evenly, not to scale.</p>"
    )
    return f"<h2>Dose-response</h2><div class='charts'>{''.join(charts)}{key}</div>"

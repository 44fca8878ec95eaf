"""A feature's page: one file without scripts, without network, the same figures as text in a terminal."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from elicit.runs import write_text
from elicit.text import escape_html
from saes.dashboard import panels, plain
from saes.dashboard.panels import Link
from saes.dashboard.studies import Study
from saes.dashboard.text import format_number, format_percent

#: Written into every page, so that a folder of them can be told from anybody else's.
GENERATOR = "elicit sae dashboard"
_HEIGHT = 720


@dataclass(frozen=True, repr=False)
class FeaturePage:
    """A feature's page."""

    html: str
    """The whole page: one file that opens anywhere, offline."""
    text: str
    """The same figures for a terminal."""

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        # A frame, so that the page's style and the notebook's do not meet. It holds no script and needs no rights.
        return (
            f'<iframe srcdoc="{html.escape(self.html, quote=True)}" sandbox width="100%" height="{_HEIGHT}" '
            'style="border:1px solid #8886;border-radius:6px" title="feature page"></iframe>'
        )

    def save(self, path: str | Path) -> Path:
        """Write the page; whole or not at all.

        Raises:
            ElicitError: a place that cannot be written.
        """
        write_text(Path(path), self.html)
        return Path(path)


@dataclass(frozen=True)
class PageLinks:
    """Links from a page to its neighbours."""

    link: Link
    """Feature -> its page, None for one that has none."""
    index: str
    """The index."""
    order: Sequence[int]
    """All pages, for previous and next."""


def page(study: Study, feature: int, *, links: PageLinks | None = None) -> FeaturePage:
    """The page of one feature.

    Args:
        study: what `saes.dashboard.study` found.
        feature: its number.
        links: where the page lies among others; None for a page by itself, without links.

    Raises:
        ElicitError: a feature that was not collected.
    """
    activity = study.collected.get_activity(feature)
    body = (
        _render_header(study, feature, links) + _render_facts(study, feature) + _render_sections(study, feature, links)
    )
    title = f"feature {feature} of {study.sae.name}"
    return FeaturePage(
        render_document(title, f"<main>{body}</main>"), plain.render_plain_page(study, feature, activity)
    )


def render_document(title: str, body: str, *, style: str = "", script: str = "", script_hash: str = "") -> str:
    """A whole HTML file. Its policy lets nothing in and nothing out; `script` runs only under its own hash."""
    allowed = f" script-src 'sha256-{script_hash}';" if script_hash else ""
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:;{allowed} base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="{GENERATOR}"><meta name="referrer" content="no-referrer">'
        f'<title>{escape_html(title)}</title><link rel="icon" href="data:,">'
        f"<style>{read_asset('style.css')}{style}</style></head><body>{body}{script}</body></html>\n"
    )


@cache
def read_asset(name: str) -> str:
    """A file that lies beside this one."""
    return resources.files("saes.dashboard").joinpath(name).read_text(encoding="utf-8")


def _render_header(study: Study, feature: int, links: PageLinks | None) -> str:
    sae, manifest = study.sae, study.sae.manifest
    k = "" if manifest.k is None else f", k = {format_number(manifest.k)}"
    facts = (
        f"{manifest.architecture}, {sae.d_sae:,} latents{k} · {manifest.hook} (after layer {sae.layer}) of "
        f"{manifest.model}"
    )
    return (
        f"{_render_navigation(feature, links)}<header><h1>Feature {feature} "
        f"<span class='soft'>of {escape_html(sae.name)}</span></h1><p class='soft'>{escape_html(facts)}</p></header>"
    )


def _render_navigation(feature: int, links: PageLinks | None) -> str:
    if links is None:
        return ""
    at = links.order.index(feature)
    steps = [f'<a href="{escape_html(links.index)}#f{feature}" rel="up">all features</a>']
    for rel, to, form in (("prev", at - 1, "← {}"), ("next", at + 1, "{} →")):
        target = links.link(links.order[to]) if 0 <= to < len(links.order) else None
        if target is not None:
            steps.append(f'<a href="{escape_html(target)}" rel="{rel}">{form.format(links.order[to])}</a>')
    return f"<nav>{' '.join(steps)}</nav>"


def _render_facts(study: Study, feature: int) -> str:
    entries = "".join(
        f"<div><dt>{escape_html(name)}</dt><dd>{escape_html(value)}<small>{escape_html(note)}</small></dd></div>"
        for name, value, note in plain.collect_figures(study, feature)
    )
    return f'<dl class="facts">{entries}</dl>'


def _render_sections(study: Study, feature: int, links: PageLinks | None) -> str:
    activity, words = study.collected.get_activity(feature), study.vocabulary
    link: Link = links.link if links is not None else lambda _: None
    parts = [_wrap_section("dose", panels.render_doses(study.doses.get(feature, ())))]
    if study.contrast is not None:
        body = panels.render_contrast(study.contrast, feature, words, activity.maximum or 1.0)
        parts.append(_wrap_section("contrast", body))
    effect = study.lens.get_effect(feature) if study.lens is not None else None
    left = f"<h2>Where it fires</h2>{panels.render_scale(activity.maximum)}{panels.render_examples(activity, words)}"
    near = panels.render_neighbours("Nearest decoder rows", "cosine", study.find_nearest(feature), study, link)
    together = panels.render_neighbours(
        "Fires together with", "correlation", study.find_correlated(feature), study, link
    )
    right = (
        panels.render_histogram(activity)
        + (panels.render_lens(effect, words) if effect is not None else "")
        + near
        + together
        + (f"<p class='note'>Pearson, over {activity.tokens:,} tokens.</p>" if together else "")
        + panels.render_basis(study.sae.directions[feature].cpu().double().numpy())
    )
    parts.append(f'<div class="columns"><section id="examples">{left}</section><aside>{right}</aside></div>')
    return "".join(parts) + render_footer(study)


def _wrap_section(name: str, body: str) -> str:
    return f'<section id="{name}">{body}</section>' if body else ""


def render_footer(study: Study) -> str:
    """Describe the text on which everything was counted."""
    collected = study.collected
    what = f"{study.text}: " if study.text else ""
    lines = [
        f"Text: {what}{collected.tokens:,} tokens in {collected.sequences:,} sequences, without the first "
        f"{collected.skip} of each "
        f"(sha256 {collected.text_sha256[:12]}). On it the SAE has {format_number(collected.l0)} latents above zero "
        "per token and "
        f"explains {format_percent(collected.explained_variance)} % of the residual's variance. Its files: sha256 "
        f"{study.sae.sha256[:12]}.",
        "The same context is shown once: a causal model's activation depends on nothing after its token. Bands are cut "
        f"between quantiles of the firings; their examples are drawn by random numbers of seed {collected.seed}, the "
        "text "
        "and the feature. Hidden characters are written out, as U+202E; ␣ and ⏎ are spaces and line breaks.",
    ]
    return f"<footer>{''.join(f'<p>{escape_html(entry)}</p>' for entry in lines)}</footer>"

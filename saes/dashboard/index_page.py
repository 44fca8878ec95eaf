"""A folder of feature pages and their index: open index.html; no server, no network, no other file needed.

The table stands in the page as HTML, so it reads without scripts; a small script adds search and sorting.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from elicit.errors import ElicitError
from elicit.runs import fresh_folder
from elicit.text import escape_html, script_json
from saes.dashboard import plots
from saes.dashboard.feature_page import GENERATOR, PageLinks, page, read_asset, render_document, render_footer
from saes.dashboard.panels import format_estimate, format_exact, render_tokens
from saes.dashboard.studies import Study
from saes.dashboard.text import format_number, format_percent, format_token, render_token

FOLDER = "features"
#: Characters of examples that a search looks in.
_SEARCHED = 600
#: Where a search can look: everywhere, or in the columns of `searched`.
_PLACES = ("anywhere", "raises", "lowers", "fires on", "examples")
#: Tokens left of the peak that a row of the index shows.
_CONTEXT = 14


def write(
    study: Study,
    folder: str | Path,
    *,
    features: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write index.html and features/N.html; the folder is there whole or not at all. Returns the index's path.

    Args:
        folder: a new or empty folder, or one that this function wrote before, which is replaced.
        features: which to write; None for all that fired, those of `study.used` in front.
        progress: called with the number of pages written so far.

    Raises:
        ElicitError: a folder that holds something else or cannot be written; features that were not collected.
    """
    target = Path(folder)
    check_target(target)
    chosen = order_features(study) if features is None else list(dict.fromkeys(features))
    pages = set(chosen)
    with fresh_folder(target) as scratch:
        (scratch / FOLDER).mkdir()
        links = PageLinks(lambda i: f"{i}.html" if i in pages else None, "../index.html", chosen)
        for done, feature in enumerate(chosen, start=1):
            _write_page(scratch / FOLDER / f"{feature}.html", page(study, feature, links=links).html)
            if progress is not None:
                progress(done)
        _write_page(scratch / "index.html", index(study, chosen))
    return target / "index.html"


def _write_page(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def order_features(study: Study) -> list[int]:
    """Features that fired: those of `study.used`, then by the size of the contrast, or by density without one."""
    live = set(study.collected.live)
    first = [i for i in study.used if i in study.collected.features]
    contrast = study.contrast

    def sort_key(feature: int) -> tuple[float, int]:
        difference = contrast.get_difference(feature) if contrast is not None else None
        return (-difference.paired.value if difference else -study.collected.get_activity(feature).density), feature

    return first + sorted(live - set(first), key=sort_key)


def check_target(target: Path) -> None:
    """Refuse to replace what is no dashboard.

    Raises:
        ElicitError: a file, or a folder with other things in it.
    """
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise ElicitError(f"{target} exists and is not a folder. Name another place with --out.")
    names = {entry.name for entry in target.iterdir()}
    if not names:
        return
    start = ""
    if names <= {"index.html", FOLDER} and (target / "index.html").is_file():
        with (target / "index.html").open(encoding="utf-8", errors="replace") as file:
            start = file.read(1000)
    if f'content="{GENERATOR}"' not in start:
        raise ElicitError(f"{target} holds other files; they would be replaced. Name a new folder with --out.")


def index(study: Study, features: Sequence[int]) -> str:
    """The index page; its links lead to features/N.html beside it."""
    script = read_asset("index.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rows = [_render_row(study, feature) for feature in features]
    data = script_json([build_search_fields(study, feature) for feature in features])
    head = "".join(
        f'<th scope="col"{css}><button type="button">{escape_html(name)}</button></th>'
        for name, right in _list_columns(study)
        for css in (' class="r"' if right else "",)
    )
    choices = "".join(f"<option>{name}</option>" for name in _PLACES)
    body = (
        f"<main>{_render_title(study, features)}"
        '<p id="tools" hidden><label for="q">Search</label> <input id="q" type="search" autocomplete="off" '
        'spellcheck="false" placeholder="feature number, or text of a token"> <label for="in">in</label> '
        f'<select id="in">{choices}</select> <output id="count" for="q in"></output></p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="features"><table id="features"><thead><tr>{head}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{render_footer(study)}</main>"
        f'<script type="application/json" id="data">{data}</script>'
    )
    return render_document(
        f"features of {study.sae.name}", body, style=read_asset("index.css"), script=f"<script>{script}</script>",
        script_hash=digest,
    )  # fmt: skip


def _render_title(study: Study, features: Sequence[int]) -> str:
    collected, manifest = study.collected, study.sae.manifest
    silent = len(collected.features) - len(collected.live)
    facts = (
        f"{len(features):,} of {study.sae.d_sae:,} features · {manifest.architecture} SAE at {manifest.hook} of "
        f"{manifest.model} · {silent:,} of the {len(collected.features):,} looked at do not fire on this text"
    )
    title = f"<h1>Features <span class='soft'>of {escape_html(study.sae.name)}</span></h1>"
    return f"<header>{title}<p class='soft'>{escape_html(facts)}</p></header>"


def _list_columns(study: Study) -> list[tuple[str, bool]]:
    columns = [("feature", False), ("density %", True), ("largest", True), ("norm", True), ("activations", False)]
    if study.contrast is not None:
        positive, negative = study.contrast.names
        columns.insert(4, (f"{positive} − {negative}", True))
    if study.used:
        columns.insert(1, ("used by", False))
    return [*columns, ("raises", False), ("lowers", False), ("strongest example", False)]


def _render_row(study: Study, feature: int) -> str:
    activity, words = study.collected.get_activity(feature), study.vocabulary
    cells = [f'<th scope="row" data-v="{feature}"><a href="{FOLDER}/{feature}.html">{feature}</a></th>']
    if study.used:
        used = study.used.get(feature, "")
        cells.append(f'<td data-v="{escape_html(used)}">{escape_html(used)}</td>')
    cells += [
        _render_cell(format_percent(activity.density), activity.density, f"of {activity.tokens:,} tokens"),
        _render_cell(format_number(activity.maximum), activity.maximum, f"of {activity.count:,} firings"),
        _render_cell(format_number(study.sae.feature(feature).norm), study.sae.feature(feature).norm),
    ]
    if study.contrast is not None:
        difference = study.contrast.get_difference(feature)
        value = difference.paired.value if difference else None
        cells.append(
            _render_cell(format_number(value), value, format_estimate(difference.paired) if difference else "")
        )
    cells.append(f'<td data-v="{format_exact(activity.mean)}">{plots.plot_sparkline(activity.histogram)}</td>')
    effect = study.lens.get_effect(feature) if study.lens is not None else None
    for side in (effect.raised, effect.lowered) if effect else ((), ()):
        token_html = " ".join(f"<code>{render_token(words.text(i), alone=True)}</code>" for i, _ in side[:3])
        first = escape_html(format_token(words.text(side[0][0]))) if side else ""
        cells.append(f'<td class="lit" data-v="{first}">{token_html}</td>')
    cells.append(
        f'<td class="ctx" data-v="{escape_html(_find_peak_token(study, feature))}">{_render_snippet(study, feature)}'
        "</td>"
    )
    return f'<tr id="f{feature}">{"".join(cells)}</tr>'


def _render_cell(text: str, value: float | str | None, title: str = "") -> str:
    known = value is not None and value == value
    sort = f' data-v="{escape_html(value)}"' if known else ""
    note = f' title="{escape_html(title)}"' if title else ""
    css = "" if isinstance(value, str) else ' class="r"'
    return f"<td{css}{sort}{note}>{escape_html(text)}</td>"


def _find_peak_token(study: Study, feature: int) -> str:
    top = study.collected.get_activity(feature).top
    return format_token(study.vocabulary.text(top[0].ids[top[0].peak])) if top else ""


def _render_snippet(study: Study, feature: int) -> str:
    activity = study.collected.get_activity(feature)
    if not activity.top:
        return ""
    best = activity.top[0]
    part = slice(max(0, best.peak - _CONTEXT), best.peak + 4)
    ids, values, peak = best.ids[part], best.activations[part], best.peak - part.start
    body = render_tokens(ids, values, study.vocabulary, activity.maximum, peak, titles=False)
    return f'<code dir="ltr">{body}</code>'


def build_search_fields(study: Study, feature: int) -> list[Any]:
    """[number, what it raises, what it lowers, what it fires on, its examples]: what a search looks in, lower case."""
    words, activity = study.vocabulary, study.collected.get_activity(feature)
    effect = study.lens.get_effect(feature) if study.lens is not None else None
    sides = [[i for i, _ in side] for side in ((effect.raised, effect.lowered) if effect else ((), ()))]
    all_examples = [*activity.top, *(example for band in activity.bands for example in band.examples)]
    sides.append(list(dict.fromkeys(example.ids[example.peak] for example in all_examples)))
    texts = ["\n".join(format_token(words.text(i)) for i in side) for side in sides]
    examples = "\n".join("".join(format_token(words.text(i)) for i in example.ids) for example in activity.top)
    return [feature, *(text.lower() for text in (*texts, examples[:_SEARCHED]))]

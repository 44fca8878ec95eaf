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
from elicit.text import escape, script_json
from saes.dashboard import plots
from saes.dashboard.feature_page import GENERATOR, Place, asset, document, footer, page
from saes.dashboard.panels import exact, measured, tokens
from saes.dashboard.studies import Study
from saes.dashboard.text import number, percent, plain, token

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
    chosen = order(study) if features is None else list(dict.fromkeys(features))
    pages = set(chosen)
    with fresh_folder(target) as scratch:
        (scratch / FOLDER).mkdir()
        place = Place(lambda i: f"{i}.html" if i in pages else None, "../index.html", chosen)
        for done, feature in enumerate(chosen, start=1):
            _put(scratch / FOLDER / f"{feature}.html", page(study, feature, place=place).html)
            if progress is not None:
                progress(done)
        _put(scratch / "index.html", index(study, chosen))
    return target / "index.html"


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def order(study: Study) -> list[int]:
    """Features that fired: those of `study.used`, then by the size of the contrast, or by density without one."""
    live = set(study.found.live)
    first = [i for i in study.used if i in study.found.features]
    contrast = study.contrast

    def rank(feature: int) -> tuple[float, int]:
        found = contrast.of(feature) if contrast is not None else None
        return (-found.paired.value if found else -study.found.of(feature).density), feature

    return first + sorted(live - set(first), key=rank)


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
    script = asset("index.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rows = [_row(study, feature) for feature in features]
    data = script_json([searched(study, feature) for feature in features])
    head = "".join(
        f'<th scope="col"{css}><button type="button">{escape(name)}</button></th>'
        for name, right in _columns(study)
        for css in (' class="r"' if right else "",)
    )
    choices = "".join(f"<option>{name}</option>" for name in _PLACES)
    body = (
        f"<main>{_title(study, features)}"
        '<p id="tools" hidden><label for="q">Search</label> <input id="q" type="search" autocomplete="off" '
        'spellcheck="false" placeholder="feature number, or text of a token"> <label for="in">in</label> '
        f'<select id="in">{choices}</select> <output id="count" for="q in"></output></p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="features"><table id="features"><thead><tr>{head}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{footer(study)}</main>"
        f'<script type="application/json" id="data">{data}</script>'
    )
    return document(
        f"features of {study.sae.name}", body, style=asset("index.css"), script=f"<script>{script}</script>",
        script_hash=digest,
    )  # fmt: skip


def _title(study: Study, features: Sequence[int]) -> str:
    found, manifest = study.found, study.sae.manifest
    silent = len(found.features) - len(found.live)
    facts = (
        f"{len(features):,} of {study.sae.d_sae:,} features · {manifest.architecture} SAE at {manifest.hook} of "
        f"{manifest.model} · {silent:,} of the {len(found.features):,} looked at do not fire on this text"
    )
    title = f"<h1>Features <span class='soft'>of {escape(study.sae.name)}</span></h1>"
    return f"<header>{title}<p class='soft'>{escape(facts)}</p></header>"


def _columns(study: Study) -> list[tuple[str, bool]]:
    found = [("feature", False), ("density %", True), ("largest", True), ("norm", True), ("activations", False)]
    if study.contrast is not None:
        positive, negative = study.contrast.names
        found.insert(4, (f"{positive} − {negative}", True))
    if study.used:
        found.insert(1, ("used by", False))
    return [*found, ("raises", False), ("lowers", False), ("strongest example", False)]


def _row(study: Study, feature: int) -> str:
    activity, words = study.found.of(feature), study.vocabulary
    cells = [f'<th scope="row" data-v="{feature}"><a href="{FOLDER}/{feature}.html">{feature}</a></th>']
    if study.used:
        used = study.used.get(feature, "")
        cells.append(f'<td data-v="{escape(used)}">{escape(used)}</td>')
    cells += [
        _cell(percent(activity.density), activity.density, f"of {activity.tokens:,} tokens"),
        _cell(number(activity.maximum), activity.maximum, f"of {activity.count:,} firings"),
        _cell(number(study.sae.feature(feature).norm), study.sae.feature(feature).norm),
    ]
    if study.contrast is not None:
        found = study.contrast.of(feature)
        value = found.paired.value if found else None
        cells.append(_cell(number(value), value, measured(found.paired) if found else ""))
    cells.append(f'<td data-v="{exact(activity.mean)}">{plots.spark(activity.histogram)}</td>')
    effect = study.lens.of(feature) if study.lens is not None else None
    for side in (effect.raised, effect.lowered) if effect else ((), ()):
        shown = " ".join(f"<code>{token(words.text(i), alone=True)}</code>" for i, _ in side[:3])
        first = escape(plain(words.text(side[0][0]))) if side else ""
        cells.append(f'<td class="lit" data-v="{first}">{shown}</td>')
    cells.append(f'<td class="ctx" data-v="{escape(_peak(study, feature))}">{_snippet(study, feature)}</td>')
    return f'<tr id="f{feature}">{"".join(cells)}</tr>'


def _cell(shown: str, value: float | str | None, title: str = "") -> str:
    known = value is not None and value == value
    sort = f' data-v="{escape(value)}"' if known else ""
    note = f' title="{escape(title)}"' if title else ""
    css = "" if isinstance(value, str) else ' class="r"'
    return f"<td{css}{sort}{note}>{escape(shown)}</td>"


def _peak(study: Study, feature: int) -> str:
    top = study.found.of(feature).top
    return plain(study.vocabulary.text(top[0].ids[top[0].peak])) if top else ""


def _snippet(study: Study, feature: int) -> str:
    activity = study.found.of(feature)
    if not activity.top:
        return ""
    best = activity.top[0]
    part = slice(max(0, best.peak - _CONTEXT), best.peak + 4)
    ids, values, peak = best.ids[part], best.activations[part], best.peak - part.start
    body = tokens(ids, values, study.vocabulary, activity.maximum, peak, titles=False)
    return f'<code dir="ltr">{body}</code>'


def searched(study: Study, feature: int) -> list[Any]:
    """[number, what it raises, what it lowers, what it fires on, its examples]: what a search looks in, lower case."""
    words, activity = study.vocabulary, study.found.of(feature)
    effect = study.lens.of(feature) if study.lens is not None else None
    sides = [[i for i, _ in side] for side in ((effect.raised, effect.lowered) if effect else ((), ()))]
    shown = [*activity.top, *(example for band in activity.bands for example in band.examples)]
    sides.append(list(dict.fromkeys(example.ids[example.peak] for example in shown)))
    texts = ["\n".join(plain(words.text(i)) for i in side) for side in sides]
    examples = "\n".join("".join(plain(words.text(i)) for i in example.ids) for example in activity.top)
    return [feature, *(text.lower() for text in (*texts, examples[:_SEARCHED]))]

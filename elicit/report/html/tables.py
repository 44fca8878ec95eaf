"""The HTML tables. Every figure cell carries the summary's own number in `data-value`, so the page can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from elicit.report.data.number_format import DASH, ceilings_line, interval, p_value, percent, plain
from elicit.report.data.summary_view import Arm, Figure, Panel, dig, number
from elicit.text import escape


class Cell(NamedTuple):
    """One figure: what is shown, below it in small print, and the number itself."""

    shown: str
    under: str = ""
    key: str = ""
    value: float | None = None
    title: str = ""


class Column(NamedTuple):
    head: str
    title: str


def table(columns: Sequence[Column], rows: Sequence[tuple[Arm, Sequence[Cell]]], *, caption: str) -> str:
    """A table whose headers sort it where scripts run. The first column is the arm."""
    heads = "".join(
        f'<th scope="col" title="{escape(column.title)}"><button type="button">{escape(column.head)}</button></th>'
        for column in (Column("arm", "name in the spec"), *columns)
    )
    body, last = "", ""
    for arm, cells in rows:
        if arm.family.key != last:
            last = arm.family.key
            spans = f'scope="colgroup" colspan="{len(columns) + 1}"'
            body += f'<tr class="family"><th {spans}>{escape(arm.family.name)}</th></tr>'
        body += _row(arm, cells)
    return (
        f'<div class="scroll"><table class="figures"><caption>{caption}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(arm: Arm, cells: Sequence[Cell]) -> str:
    prefix = f'<span class="parent">{escape(arm.parent)}</span>' if arm.parent is not None else ""
    state = "" if arm.status == "done" else f' <span class="state">{escape(arm.status)}</span>'
    if arm.failures and arm.seeds:
        state = f' <span class="state">{len(arm.failures)} seed{"s" if len(arm.failures) > 1 else ""} failed</span>'
    sign = ' <abbr title="consults the verifier while answering">✓</abbr>' if arm.verifier else ""
    kinds = " ".join(filter(None, [arm.role, "trained" if arm.trained else "", "unfinished" if state else ""]))
    return (
        f'<tr class="{escape(kinds)}" data-arm="{escape(arm.name)}"><th scope="row" data-value="{escape(arm.name)}">'
        f"{prefix}{escape(arm.short)}{sign}{state}</th>" + "".join(map(_cell, cells)) + "</tr>"
    )


def _cell(cell: Cell) -> str:
    extra = f' data-key="{cell.key}"' if cell.key else ""
    extra += f' data-value="{cell.value!r}"' if cell.value is not None else ""
    extra += f' title="{escape(cell.title)}"' if cell.title else ""
    under = f"<small>{cell.under}</small>" if cell.under else ""
    return f"<td{extra}>{cell.shown}{under}</td>"


def share(figure: Figure, key: str, *, note: str = "") -> Cell:
    """A share in percent with its interval."""
    title = note or _n(figure)
    return Cell(percent(figure.value), interval(figure), key, figure.value, title)


def divergence(figure: Figure, key: str, *, unit: str) -> Cell:
    """A KL: from 0.001 in nats, below with its power of ten."""
    under = f"[{_nats(figure.low)}, {_nats(figure.high)}]" if figure.bounded else ""
    return Cell(_nats(figure.value), under, key, figure.value, _n(figure, unit))


def _nats(value: float | None) -> str:
    if value is None or value == 0 or abs(value) >= 0.001:
        return plain(value, 3 if value else 0)
    return f"{value:.0e}".replace("e-0", "e-").replace("-", "−")


def amount(figure: Figure, key: str, places: int = 1) -> Cell:
    """A quantity with its interval."""
    return Cell(plain(figure.value, places), interval(figure, places, scale=1), key, figure.value, _n(figure))


def _n(figure: Figure, unit: str = "problems") -> str:
    return "" if figure.n is None or figure.value is None else f"n = {figure.n} {unit}"


def results(panel: Panel) -> str:
    """The main table of one model."""
    tests: dict[str, str] = {}
    rows = []
    for arm in panel.arms:
        withheld = str(arm.data.get("gap_note") or "")
        note = f"withheld: {withheld}" if withheld else _n(arm.gap)
        unknown = "withheld" if withheld else DASH
        shown = plain(arm.gap.value, 2) if arm.gap.value is not None else unknown
        gap = Cell(shown, interval(arm.gap, 2, scale=1), "gap_recovered", arm.gap.value, note)
        cells = [
            share(arm.accuracy, "accuracy"),
            Cell(f"{number(arm.data.get('n')) or 0:.0f} × {arm.seeds}", key="seeds", value=float(arm.seeds)),
            gap,
            *_versus(arm, "vs_sft", tests),
            *_versus(arm, "vs_base", tests),
            points(arm, "vs_parent"),
            points(arm, "leak"),
            share(arm.estimate("trace_rate"), "trace_rate"),
            share(arm.estimate("valid_trace_rate"), "valid_trace_rate"),
            share(arm.estimate("finished_rate"), "finished_rate"),
            amount(arm.estimate("tokens_per_problem"), "tokens_per_problem"),
        ]
        rows.append((arm, cells))
    columns = [
        Column("accuracy %", "own answers; 95 % interval clustered by problem"),
        Column("n × seeds", "problems × runs of the arm"),
        Column("gap recovered", "(arm − base) / (ceiling − base)"),
        Column("points to SFT", "paired difference in accuracy to the arm sft"),
        Column("p (Holm)", "after Holm over the arms of this model"),
        Column("points to base", "paired difference in accuracy to the base"),
        Column("p (Holm)", "after Holm over the arms of this model"),
        Column("points to parent", "paired difference of a control to the arm it is named after; not adjusted"),
        Column("leak, points", "gain of the same arm on a model that never had the ability: taught; not adjusted"),
        Column("traces %", "answers that show worked steps, right or wrong"),
        Column("valid traces %", "answers whose every step is right"),
        Column("finished %", "answers that ended by themselves"),
        Column("tokens", "generated per problem, rejected and outvoted ones included"),
    ]
    notes = "; ".join(f"<sup>{letter}</sup> {escape(test)}" for test, letter in tests.items())
    caption = f"Every figure with its 95 % interval below it; {DASH} does not apply."
    caption += f" Tests: {notes}." if notes else ""
    reasons = dict.fromkeys(str(arm.data["gap_note"]) for arm in panel.arms if arm.data.get("gap_note"))
    caption += "".join(f" Gap recovered is withheld: {escape(reason)}." for reason in reasons)
    if any(arm.verifier for arm in panel.arms):
        caption += " ✓ consults the verifier while answering: no rival of the others."
    caption += f"<br>In percent, n = {panel.n} problems: {escape(ceilings_line(panel))}."
    return table(columns, rows, caption=caption)


def _versus(arm: Arm, key: str, tests: dict[str, str]) -> list[Cell]:
    found = arm.versus("vs_sft" if key == "vs_sft" else "vs_base")
    if found.figure.value is None:
        itself = arm.role == ("reference" if key == "vs_sft" else "base")
        return [Cell("reference" if itself else DASH, key=key), Cell("" if itself else DASH, key=f"{key}.p")]
    letter = tests.setdefault(found.test, "abcdefgh"[min(len(tests), 7)]) if found.test else ""
    seeds = " against ".join(str(count) for count in found.seeds)
    title = f"{_n(found.figure)}; seeds {seeds}; {found.test}. {found.note}"
    difference = Cell(
        percent(found.figure.value, signed=True), interval(found.figure, signed=True), key, found.figure.value, title
    )
    p = Cell(
        escape(p_value(found.p_holm)) + (f"<sup>{letter}</sup>" if letter else ""), "", f"{key}.p", found.p_holm, title
    )
    return [difference, p._replace(title=f"before Holm: {p_value(found.p)}")]


def points(arm: Arm, *keys: str) -> Cell:
    """A paired difference that is not adjusted, at a path of keys."""
    found = arm.versus(*keys)
    title = f"{_n(found.figure)}; {found.test}; p = {p_value(found.p)} before any adjustment"
    shown = percent(found.figure.value, signed=True)
    return Cell(shown, interval(found.figure, signed=True), ".".join(keys), found.figure.value, title)


def side_effects(panel: Panel) -> str:
    """KL to and from the base, neutral perplexity and other tasks, the base's row first."""
    tasks = list(dict.fromkeys(task for arm in panel.arms for task in (dig(arm.data, "off_target") or {})))
    columns = [
        Column("KL(base‖arm), task", "nats per token on task prompts"),
        Column("KL(arm‖base), task", "nats per token on task prompts"),
        Column("KL(base‖arm), neutral", "nats per token on neutral text"),
        Column("KL(arm‖base), neutral", "nats per token on neutral text"),
        Column("neutral perplexity", "no interval is computed"),
        Column("repeated 4-grams %", "share of a completion's 4-grams of words and signs that came before in it"),
        Column("zlib %", "compressed over raw bytes of completions from 64 bytes; low means going in circles"),
        *(Column(f"{task} %", "off-target accuracy") for task in tasks),
    ]
    rows = []
    for arm in sorted(panel.arms, key=lambda arm: arm.role != "base"):
        unit = "seeds" if arm.seeds > 1 else "texts"
        cells = [
            divergence(arm.estimate("kl", text, way), f"kl.{text}.{way}", unit=unit)
            for text in ("task", "neutral")
            for way in ("base_arm", "arm_base")
        ]
        perplexity = number(arm.data.get("neutral_perplexity"))
        cells.append(Cell(plain(perplexity, 3), "", "neutral_perplexity", perplexity))
        cells += [share(arm.estimate(key), key) for key in ("repetition", "compressed")]
        cells += [share(arm.estimate("off_target", task), f"off_target.{escape(task)}") for task in tasks]
        rows.append((arm, cells))
    caption = (
        "What else an arm changed. KL in nats per token; n is the number of texts, or of training seeds where there "
        f"are several. {DASH} where a distribution cannot be compared (search decoders, arms that only change the "
        "prompt)."
    )
    return table(columns, rows, caption=caption)

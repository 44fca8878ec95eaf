"""The HTML tables. Every figure cell carries the summary's own number in `data-value`, so the page can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from elicit.report.data.number_format import (
    DASH,
    describe_ceilings,
    describe_holm_family,
    format_interval,
    format_number,
    format_p_value,
    format_percent,
)
from elicit.report.data.summary_view import Arm, ModelPanel, OptionalEstimate, get_nested, read_finite_number
from elicit.report.html.names import render_name
from elicit.text import escape_html


class TableCell(NamedTuple):
    """One figure: what is shown, below it in small print, and the number itself."""

    text: str
    subtext: str = ""
    key: str = ""
    value: float | None = None
    title: str = ""


class TableColumn(NamedTuple):
    head: str
    title: str


def render_arm_table(
    columns: Sequence[TableColumn], rows: Sequence[tuple[Arm, Sequence[TableCell]]], *, caption: str
) -> str:
    """A table whose headers sort it where scripts run. The first column is the arm."""
    heads = "".join(
        f'<th scope="col" title="{escape_html(column.title)}"><button '
        f'type="button">{escape_html(column.head)}</button></th>'
        for column in (TableColumn("arm", "name in the spec"), *columns)
    )
    body, last_family = "", ""
    for arm, cells in rows:
        if arm.family.key != last_family:
            last_family = arm.family.key
            spans = f'scope="colgroup" colspan="{len(columns) + 1}"'
            body += f'<tr class="family"><th {spans}>{escape_html(arm.family.name)}</th></tr>'
        body += _render_arm_row(arm, cells)
    return (
        f'<div class="scroll"><table class="figures"><caption>{caption}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _render_arm_row(arm: Arm, cells: Sequence[TableCell]) -> str:
    prefix = f'<span class="parent">{render_name(arm.parent)}</span>' if arm.parent is not None else ""
    state = "" if arm.status == "done" else f' <span class="state">{escape_html(arm.status)}</span>'
    if arm.failures and arm.seeds:
        state = f' <span class="state">{len(arm.failures)} seed{"s" if len(arm.failures) > 1 else ""} failed</span>'
    sign = ' <abbr title="consults the verifier while answering">✓</abbr>' if arm.verifier else ""
    kinds = " ".join(filter(None, [arm.role, "trained" if arm.trained else "", "unfinished" if state else ""]))
    return (
        f'<tr class="{escape_html(kinds)}" data-arm="{escape_html(arm.name)}"><th scope="row" '
        f'data-value="{escape_html(arm.name)}">'
        f"{prefix}{render_name(arm.short_name)}{sign}{state}</th>" + "".join(map(_render_cell, cells)) + "</tr>"
    )


def _render_cell(cell: TableCell) -> str:
    extra = f' data-key="{cell.key}"' if cell.key else ""
    extra += f' data-value="{cell.value!r}"' if cell.value is not None else ""
    extra += f' title="{escape_html(cell.title)}"' if cell.title else ""
    small_print = f"<small>{cell.subtext}</small>" if cell.subtext else ""
    return f"<td{extra}>{cell.text}{small_print}</td>"


def build_percent_cell(figure: OptionalEstimate, key: str, *, note: str = "") -> TableCell:
    """A share in percent with its interval."""
    title = note or _format_sample_note(figure)
    return TableCell(format_percent(figure.value), format_interval(figure), key, figure.value, title)


def build_kl_cell(figure: OptionalEstimate, key: str, *, unit: str) -> TableCell:
    """A KL: from 0.001 in nats, below with its power of ten."""
    interval_text = f"[{_format_nats(figure.low)}, {_format_nats(figure.high)}]" if figure.bounded else ""
    return TableCell(_format_nats(figure.value), interval_text, key, figure.value, _format_sample_note(figure, unit))


def _format_nats(value: float | None) -> str:
    if value is None or value == 0 or abs(value) >= 0.001:
        return format_number(value, 3 if value else 0)
    return f"{value:.0e}".replace("e-0", "e-").replace("-", "−")


def build_amount_cell(figure: OptionalEstimate, key: str, places: int = 1) -> TableCell:
    """A quantity with its interval."""
    return TableCell(
        format_number(figure.value, places),
        format_interval(figure, places, scale=1),
        key,
        figure.value,
        _format_sample_note(figure),
    )


def _format_sample_note(figure: OptionalEstimate, unit: str = "problems") -> str:
    return "" if figure.n is None or figure.value is None else f"n = {figure.n} {unit}"


def render_results_table(panel: ModelPanel) -> str:
    """The main table of one model."""
    tests: dict[str, str] = {}
    rows = []
    trace_columns = _list_trace_columns(panel)
    for arm in panel.arms:
        withheld = str(arm.data.get("gap_note") or "")
        note = f"withheld: {withheld}" if withheld else _format_sample_note(arm.gap)
        missing_text = "withheld" if withheld else DASH
        gap_text = format_number(arm.gap.value, 2) if arm.gap.value is not None else missing_text
        gap = TableCell(gap_text, format_interval(arm.gap, 2, scale=1), "gap_recovered", arm.gap.value, note)
        cells = [
            build_percent_cell(arm.accuracy, "accuracy"),
            TableCell(
                f"{read_finite_number(arm.data.get('n')) or 0:.0f} × {arm.seeds}", key="seeds", value=float(arm.seeds)
            ),
            gap,
            *_build_difference_cells(arm, "vs_sft", tests),
            *_build_difference_cells(arm, "vs_base", tests),
            build_points_cell(arm, "vs_parent"),
            build_points_cell(arm, "leak"),
            *(build_percent_cell(arm.read_estimate(key), key) for key, _ in trace_columns),
            build_percent_cell(arm.read_estimate("finished_rate"), "finished_rate"),
            build_amount_cell(arm.read_estimate("tokens_per_problem"), "tokens_per_problem"),
        ]
        rows.append((arm, cells))
    holm = f"after Holm {describe_holm_family(panel)}"
    columns = [
        TableColumn(
            "accuracy %", "own answers; 95 % interval over problems and, where there are several, training seeds"
        ),
        TableColumn("n × seeds", "problems × runs of the arm"),
        TableColumn("gap recovered", "(arm − base) / (ceiling − base)"),
        TableColumn("points to SFT", "paired difference in accuracy to the SFT arm that is the reference"),
        TableColumn("p (Holm)", holm),
        TableColumn("points to base", "paired difference in accuracy to the base"),
        TableColumn("p (Holm)", holm),
        TableColumn("points to parent", "paired difference of a control to the arm it is named after; not adjusted"),
        TableColumn("leak, points", "gain of the same arm on a model that never had the ability: taught; not adjusted"),
        *(column for _, column in trace_columns),
        TableColumn("finished %", "answers that ended by themselves"),
        TableColumn("tokens", "generated per problem, rejected and outvoted ones included"),
    ]
    notes = "; ".join(f"<sup>{letter}</sup> {escape_html(test)}" for test, letter in tests.items())
    caption = (
        "Every figure with its 95 % interval below it, over problems and, where an arm has several, training seeds; "
        f"{DASH} does not apply."
    )
    caption += f" Tests: {notes}." if notes else ""
    reasons = dict.fromkeys(str(arm.data["gap_note"]) for arm in panel.arms if arm.data.get("gap_note"))
    caption += "".join(f" Gap recovered is withheld: {escape_html(reason)}." for reason in reasons)
    if any(arm.verifier for arm in panel.arms):
        caption += " ✓ consults the verifier while answering, so it is not compared with the others."
    caption += f"<br>In percent, n = {panel.n} problems: {escape_html(describe_ceilings(panel))}."
    return render_arm_table(columns, rows, caption=caption)


def _list_trace_columns(panel: ModelPanel) -> list[tuple[str, TableColumn]]:
    """Columns on traces by their key in the summary: only what the task can see and check."""
    columns = []
    if panel.sees_traces:
        columns.append(("trace_rate", TableColumn("traces %", "answers that show worked steps, right or wrong")))
    if panel.checks_traces:
        columns.append(("valid_trace_rate", TableColumn("valid traces %", "answers whose every step is right")))
    return columns


def _build_difference_cells(arm: Arm, key: str, tests: dict[str, str]) -> list[TableCell]:
    paired_difference = arm.read_difference("vs_sft" if key == "vs_sft" else "vs_base")
    if paired_difference.estimate.value is None:
        is_reference = arm.role == ("reference" if key == "vs_sft" else "base")
        return [
            TableCell("reference" if is_reference else DASH, key=key),
            TableCell("" if is_reference else DASH, key=f"{key}.p"),
        ]
    letter = tests.setdefault(paired_difference.test, "abcdefgh"[min(len(tests), 7)]) if paired_difference.test else ""
    seeds = " against ".join(str(count) for count in paired_difference.seeds)
    title = (
        f"{_format_sample_note(paired_difference.estimate)}; seeds {seeds}; {paired_difference.test}. "
        f"{paired_difference.note}"
    )
    difference = TableCell(
        format_percent(paired_difference.estimate.value, signed=True),
        format_interval(paired_difference.estimate, signed=True),
        key,
        paired_difference.estimate.value,
        title,
    )
    p = TableCell(
        escape_html(format_p_value(paired_difference.p_holm)) + (f"<sup>{letter}</sup>" if letter else ""),
        "",
        f"{key}.p",
        paired_difference.p_holm,
        title,
    )
    return [difference, p._replace(title=f"before Holm: {format_p_value(paired_difference.p)}")]


def build_points_cell(arm: Arm, *keys: str) -> TableCell:
    """A paired difference that is not adjusted, at a path of keys."""
    difference = arm.read_difference(*keys)
    title = (
        f"{_format_sample_note(difference.estimate)}; {difference.test}; p = {format_p_value(difference.p)} "
        "before any adjustment"
    )
    text = format_percent(difference.estimate.value, signed=True)
    return TableCell(
        text, format_interval(difference.estimate, signed=True), ".".join(keys), difference.estimate.value, title
    )


def render_side_effects(panel: ModelPanel) -> str:
    """KL to and from the base, neutral perplexity and other tasks, the base's row first."""
    tasks = list(dict.fromkeys(task for arm in panel.arms for task in (get_nested(arm.data, "off_target") or {})))
    columns = [
        TableColumn("KL(base‖arm), task", "nats per token on task prompts"),
        TableColumn("KL(arm‖base), task", "nats per token on task prompts"),
        TableColumn("KL(base‖arm), neutral", "nats per token on neutral text"),
        TableColumn("KL(arm‖base), neutral", "nats per token on neutral text"),
        TableColumn("neutral perplexity", "no interval is computed"),
        TableColumn("repeated 4-grams %", "share of a completion's 4-grams of words and signs that came before in it"),
        TableColumn("zlib %", "compressed over raw bytes of completions from 64 bytes; low means going in circles"),
        *(TableColumn(f"{task} %", "off-target accuracy") for task in tasks),
    ]
    rows = []
    for arm in sorted(panel.arms, key=lambda arm: arm.role != "base"):
        unit = "seeds" if arm.seeds > 1 else "texts"
        cells = [
            build_kl_cell(arm.read_estimate("kl", text, direction), f"kl.{text}.{direction}", unit=unit)
            for text in ("task", "neutral")
            for direction in ("base_arm", "arm_base")
        ]
        perplexity = read_finite_number(arm.data.get("neutral_perplexity"))
        cells.append(TableCell(format_number(perplexity, 3), "", "neutral_perplexity", perplexity))
        cells += [build_percent_cell(arm.read_estimate(key), key) for key in ("repetition", "compressed")]
        cells += [
            build_percent_cell(arm.read_estimate("off_target", task), f"off_target.{escape_html(task)}")
            for task in tasks
        ]
        rows.append((arm, cells))
    caption = (
        "What else an arm changed. KL in nats per token; n is the number of texts, or of training seeds where there "
        f"are several. {DASH} where a distribution cannot be compared (search decoders, arms that only change the "
        "prompt)."
    )
    return render_arm_table(columns, rows, caption=caption)

"""The budget of every arm, and a description of every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.report.data.display_text import fold_onto_line
from elicit.report.data.number_format import DASH, format_amount, format_interval, format_number
from elicit.report.data.summary_view import (
    Arm,
    ModelPanel,
    OptionalEstimate,
    get_nested,
    parse_estimate,
    read_finite_number,
)
from elicit.report.html.names import render_name
from elicit.report.html.tables import TableCell, TableColumn, build_amount_cell, render_arm_table
from elicit.text import escape_html

_BUDGET_COLUMNS = (
    ("answer_tokens", "tokens / answer", "generated per test problem, rejected and outvoted ones included"),
    ("fit_generated_tokens", "generated in the fit", "rollouts, pilot and tuning, rejected ones too"),
    ("train_tokens", "training tokens", "read in training, repeats too"),
    ("train_flops", "training FLOPs", "as the method counts them"),
    ("inherited_tokens", "of arms behind it", "fit tokens of the arms that this one was made from"),
    ("inherited_labels", "labels of arms behind it", "labels of the arms that this one was made from"),
    ("labels", "labels", "problems whose right answer was read, in training and in tuning"),
    (
        "teacher_tokens",
        "teacher tokens",
        "of a teacher (model or program) that were trained on; 0 where none wrote",
    ),
    ("fit_seconds", "fit, s", "on the machine of the manifest"),
    ("seconds", "all, s", "fit and evaluation"),
)
#: What a record holds that the page shows in other places.
_SHOWN_ELSEWHERE = ("train", "tuning", "curve", "pilot", "steering", "dose_response", "chosen", "chosen_on", "features")


def render_budget_table(panel: ModelPanel) -> str:
    """The budget of every arm, per seed."""
    rows = []
    for arm in panel.arms:
        cells = [_build_budget_cell(arm, key) for key, _, _ in _BUDGET_COLUMNS]
        edits = read_finite_number(arm.data.get("firings_per_problem"))
        cells += [TableCell(format_number(edits), "", "firings_per_problem", edits), _build_tuning_cell(arm)]
        rows.append((arm, cells))
    columns = [
        *(TableColumn(head, title) for _, head, title in _BUDGET_COLUMNS),
        TableColumn("edits / problem", "positions the intervention touched"),
        TableColumn("chosen on", "problems that hyper-parameters were chosen on"),
    ]
    caption = f"Means over the seeds of an arm. {DASH}: nothing of the kind was done, or it is not known; never 0."
    return render_arm_table(columns, rows, caption=caption)


def _build_budget_cell(arm: Arm, key: str) -> TableCell:
    value = read_finite_number(get_nested(arm.data, "budget", key))
    if value is None and key == "answer_tokens":
        return build_amount_cell(arm.read_estimate("tokens_per_problem"), "tokens_per_problem")
    if value is None and key == "seconds":
        value = read_finite_number(arm.data.get("seconds"))
        return TableCell(format_number(value), "", "seconds", value)
    text = f"{value:.1e}" if value is not None and key == "train_flops" else format_amount(value)
    return TableCell(text, "", f"budget.{key}", value, "" if value is None else f"{value:,.1f}")


def _build_tuning_cell(arm: Arm) -> TableCell:
    """The number of problems, and their split, that a tuned arm was chosen on."""
    n, split = read_finite_number(get_nested(arm.data, "tuning", "n")), get_nested(arm.data, "tuning", "split")
    tuning_tokens = read_finite_number(get_nested(arm.data, "tuning", "generated_tokens"))
    subtext = "" if tuning_tokens is None else f"{format_amount(tuning_tokens)} tokens"
    return TableCell(
        DASH if n is None else f"{n:.0f} of {escape_html(split or 'an unnamed split')}", subtext, "tuning.n", n
    )


def render_arm_descriptions(
    model_panels: Sequence[ModelPanel],
    options: Mapping[str, Mapping[str, object]],
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> str:
    """A table of arms: method in one line, options, edit on each model, and numbers from the fit.

    Args:
        options: arm -> what the spec gives it.
        records: model -> arm -> what the first finished seed's fit found.
    """
    arms = {arm.name: arm for panel in reversed(model_panels) for arm in panel.arms}
    order = list(dict.fromkeys(arm.name for panel in model_panels for arm in panel.arms))
    rows = []
    for name in order:
        option_text = ", ".join(f"{key}: {value}" for key, value in options.get(name, {}).items() if key != "method")
        edits: dict[str, list[str]] = {}
        for panel in model_panels:
            arm_edits = next((arm.data.get("steering") for arm in panel.arms if arm.name == name), None)
            edit_texts = [str(edit) for edit in arm_edits if edit is not None] if isinstance(arm_edits, list) else []
            if edit_texts:
                edits.setdefault("; ".join(edit_texts), []).append(panel.model)
        facts: dict[str, list[str]] = {}
        for panel in model_panels:
            fact_text = _summarise_fit_record(records.get(panel.model, {}).get(name, {}))
            if fact_text:
                facts.setdefault(fact_text, []).append(panel.model)
        detail = _join_by_model(edits, model_panels)
        rows.append(
            "<tr><th "
            f"scope=row>{render_name(name)}</th><td>{escape_html(_describe_method(arms[name]))}</td>"
            f"{_render_text_cell(option_text)}{_render_text_cell(detail)}"
            f"{_render_text_cell(_join_by_model(facts, model_panels))}</tr>"
        )
    names = ("arm", "what it does", "options", "edit as applied", "found while fitting")
    head = "<tr>" + "".join(f"<th scope=col>{name}</th>" for name in names) + "</tr>"
    return f'<div class="scroll"><table class="words"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _render_text_cell(text: str) -> str:
    return f"<td>{render_name(text)}</td>" if text else f'<td class="unknown">{DASH}</td>'


def _join_by_model(texts: Mapping[str, Sequence[str]], model_panels: Sequence[ModelPanel]) -> str:
    """Each text once, with the models it is true of where there are several."""
    return " · ".join(
        fold_onto_line(text, 400) + (f" ({', '.join(models)})" if len(model_panels) > 1 else "")
        for text, models in texts.items()
    )


def _summarise_fit_record(record: Mapping[str, Any]) -> str:
    """Numbers and estimates that a fit left in its record, beside what has a place of its own on the page."""
    parts = []
    for key, value in record.items():
        if key in _SHOWN_ELSEWHERE:
            continue
        fact = parse_estimate(value) if isinstance(value, Mapping) else OptionalEstimate(read_finite_number(value))
        if fact.value is not None:
            places = 3 if abs(fact.value) < 10 else 0
            sample_size = "" if fact.n is None else f", n = {fact.n}"
            parts.append(
                f"{key.replace('_', ' ')} {format_number(fact.value, places)} "
                f"{format_interval(fact, 3, scale=1)}{sample_size}".strip()
            )
    return "; ".join(parts[:8])


def _describe_method(arm: Arm) -> str:
    """The first line of a built-in method's documentation; of another one its name."""
    from elicit.methods.catalog import is_built_in, load_config_class

    name = arm.data.get("method")
    if not isinstance(name, str):
        return DASH
    label = f" ({arm.traits.label})" if arm.traits.label and (not is_built_in(name) or arm.traits.control_of) else ""
    about = (load_config_class(name).__doc__ or name).strip().splitlines()[0] if is_built_in(name) else name
    return about.removesuffix(".") + label + "." if label and is_built_in(name) else about + label

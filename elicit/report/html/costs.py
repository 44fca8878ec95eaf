"""What each arm took, and what each arm is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elicit.report.data.display_text import one_line
from elicit.report.data.number_format import DASH, big, interval, plain
from elicit.report.data.summary_view import Arm, Figure, Panel, dig, estimate, number
from elicit.report.html.tables import Cell, Column, amount, table
from elicit.text import escape

_AMOUNTS = (
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
_ELSEWHERE = ("train", "tuning", "curve", "pilot", "steering", "dose_response", "chosen", "chosen_on", "features")


def budgets(panel: Panel) -> str:
    """What an arm took, per seed."""
    rows = []
    for arm in panel.arms:
        cells = [_amount(arm, key) for key, _, _ in _AMOUNTS]
        edits = number(arm.data.get("firings_per_problem"))
        cells += [Cell(plain(edits), "", "firings_per_problem", edits), _tuned(arm)]
        rows.append((arm, cells))
    columns = [
        *(Column(head, title) for _, head, title in _AMOUNTS),
        Column("edits / problem", "positions the intervention touched"),
        Column("chosen on", "problems that hyper-parameters were chosen on"),
    ]
    caption = f"Means over the seeds of an arm. {DASH}: nothing of the kind was done, or it is not known; never 0."
    return table(columns, rows, caption=caption)


def _amount(arm: Arm, key: str) -> Cell:
    value = number(dig(arm.data, "budget", key))
    if value is None and key == "answer_tokens":
        return amount(arm.estimate("tokens_per_problem"), "tokens_per_problem")
    if value is None and key == "seconds":
        value = number(arm.data.get("seconds"))
        return Cell(plain(value), "", "seconds", value)
    shown = f"{value:.1e}" if value is not None and key == "train_flops" else big(value)
    return Cell(shown, "", f"budget.{key}", value, "" if value is None else f"{value:,.1f}")


def _tuned(arm: Arm) -> Cell:
    """How many problems of which split a tuned arm was chosen on."""
    n, split = number(dig(arm.data, "tuning", "n")), dig(arm.data, "tuning", "split")
    spent = number(dig(arm.data, "tuning", "generated_tokens"))
    under = "" if spent is None else f"{big(spent)} tokens"
    return Cell(DASH if n is None else f"{n:.0f} of {escape(split or 'an unnamed split')}", under, "tuning.n", n)


def descriptions(
    found: Sequence[Panel],
    options: Mapping[str, Mapping[str, object]],
    records: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> str:
    """What each arm is: its method in one line, its options, its edit on each model, and what its fit found.

    Args:
        options: arm -> what the spec gives it.
        records: model -> arm -> what the first finished seed's fit found.
    """
    arms = {arm.name: arm for panel in reversed(found) for arm in panel.arms}
    order = list(dict.fromkeys(arm.name for panel in found for arm in panel.arms))
    rows = []
    for name in order:
        given = ", ".join(f"{key}: {value}" for key, value in options.get(name, {}).items() if key != "method")
        edits: dict[str, list[str]] = {}
        for panel in found:
            listed = next((arm.data.get("steering") for arm in panel.arms if arm.name == name), None)
            known = [str(edit) for edit in listed if edit is not None] if isinstance(listed, list) else []
            if known:
                edits.setdefault("; ".join(known), []).append(panel.model)
        facts: dict[str, list[str]] = {}
        for panel in found:
            said = _facts(records.get(panel.model, {}).get(name, {}))
            if said:
                facts.setdefault(said, []).append(panel.model)
        detail = _by_model(edits, found)
        rows.append(
            f"<tr><th scope=row>{escape(name)}</th><td>{escape(_about(arms[name].data.get('method')))}</td>"
            f"<td>{escape(given) or DASH}</td><td>{escape(detail) or DASH}</td>"
            f"<td>{escape(_by_model(facts, found)) or DASH}</td></tr>"
        )
    names = ("arm", "what it does", "options", "edit as applied", "found while fitting")
    head = "<tr>" + "".join(f"<th scope=col>{name}</th>" for name in names) + "</tr>"
    return f'<div class="scroll"><table class="words"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _by_model(texts: Mapping[str, Sequence[str]], found: Sequence[Panel]) -> str:
    """Each text once, with the models it is true of where there are several."""
    return " · ".join(
        one_line(text, 400) + (f" ({', '.join(of)})" if len(found) > 1 else "") for text, of in texts.items()
    )


def _facts(record: Mapping[str, Any]) -> str:
    """Numbers and estimates that a fit left in its record, beside what has a place of its own on the page."""
    said = []
    for key, value in record.items():
        if key in _ELSEWHERE:
            continue
        figure = estimate(value) if isinstance(value, Mapping) else Figure(number(value))
        if figure.value is not None:
            size = 3 if abs(figure.value) < 10 else 0
            n = "" if figure.n is None else f", n = {figure.n}"
            said.append(
                f"{key.replace('_', ' ')} {plain(figure.value, size)} {interval(figure, 3, scale=1)}{n}".strip()
            )
    return "; ".join(said[:8])


def _about(method: object) -> str:
    """The first line of a method's documentation."""
    from elicit.errors import ElicitError
    from elicit.methods.catalog import config_class

    if not isinstance(method, str):
        return DASH
    try:
        return (config_class(method).__doc__ or method).strip().splitlines()[0]
    except ElicitError:
        return method

"""The summary on stdout: one table a model, or two where the terminal is narrow, or a list where it is very narrow.

Numbers are never cut to fit: the layout changes instead. Budgets are shown where there is room; of many arms in a
narrow terminal only the figures that answer the question are, and a line says where the others are. Without a terminal
the text is plain, 80 columns wide unless COLUMNS says otherwise.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elicit.report.data.display_text import fold_onto_line
from elicit.report.data.number_format import (
    DASH,
    describe_ceilings,
    format_amount,
    format_fraction,
    format_interval,
    format_number,
    format_p_value,
    format_percent,
)
from elicit.report.data.summary_view import (
    Arm,
    ModelPanel,
    OptionalEstimate,
    get_nested,
    read_finite_number,
    read_panels,
)
from elicit.report.trajectories.section import summarise_trajectories as over_training
from elicit.report.verdict import VerdictText, judge_panel, write_verdict
from elicit.text import reveal_hidden

#: Signs that a stdout without Unicode cannot print.
_ASCII = str.maketrans({"–": "-", "−": "-", "×": "x", "∞": "inf", "…": "~", "·": ";", "─": "-", "━": "=", "═": "="})


#: From so many arms on, a narrow terminal gets one table; from so many on, families are headed.
_MANY, _GROUPED = 24, 12


class _Column(NamedTuple):
    head: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        return max(len(line) for text in (self.head, *self.cells) for line in text.split("\n"))


def show(summary: Mapping[str, Any]) -> None:
    """Print the table, the ceilings and the verdict of every model on stdout."""
    from rich.console import Console
    from rich.text import Text

    real = Console(file=sys.stdout, highlight=False)
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=real.width,
        force_terminal=real.is_terminal,
        color_system=real.color_system if real.is_terminal else None,  # type: ignore[arg-type]
        highlight=False,
        legacy_windows=False,
    )
    if summary.get("limit") is not None:
        console.print(
            Text(f"LIMITED to {summary['limit']} test problems of each task: not the whole run.", "bold yellow")
        )
    found = read_panels(summary)
    for panel in found:
        _panel(console, panel)
    if not found:
        console.print(Text("The summary holds no model."))
    else:
        _legend(console, found)
    text = "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode("ascii", "replace").decode()
    sys.stdout.write(text)


def _panel(console: Any, panel: ModelPanel) -> None:
    from rich.text import Text

    console.print()
    console.print(
        Text.assemble((reveal_hidden(panel.model), "bold"), f" on {reveal_hidden(panel.task)}, {panel.n} test problems")
    )
    _tables(console, panel)
    for arm in panel.arms:
        for seed, error in arm.failures:
            where = f", seed {seed}," if seed else ""
            console.print(Text(f"{reveal_hidden(arm.name)}{where} failed: {fold_onto_line(error)}", "red"))
        if arm.status not in ("done", "failed"):
            console.print(Text(f"{reveal_hidden(arm.name)}: {reveal_hidden(arm.status)}", "yellow"))
    console.print(Text(reveal_hidden(describe_ceilings(panel, 0, minus="-"))))
    _over_training(console, panel)
    _verdict(console, write_verdict(judge_panel(panel)), brief=len(panel.arms) > _MANY)


def _tables(console: Any, panel: ModelPanel) -> None:
    names = _Column("arm", [_name(arm) for arm in panel.arms])
    main, rest, budget = _columns(panel)

    def width(*groups: Sequence[_Column]) -> int:
        return names.width + sum(column.width + 2 for group in groups for column in group)

    if width(main, rest, budget) <= console.width:
        console.print(_table(panel, [names, *main, *rest, *budget]))
    elif width(main, rest) <= console.width:
        console.print(_table(panel, [names, *main, *rest]))
    elif max(width(main), width(rest)) > console.width:
        _list(console, panel, names, [*main, *rest])
    elif len(panel.arms) > _MANY:
        from rich.text import Text

        console.print(_table(panel, [names, *main]))
        heads = ", ".join(column.head for column in rest)
        console.print(Text(f"{heads}: in report.html, or in a terminal of {width(main, rest)} columns.", "dim"))
    else:
        console.print(_table(panel, [names, *main]))
        console.print()
        console.print(_table(panel, [names, *rest]))


def _over_training(console: Any, panel: ModelPanel) -> None:
    """Print one line for every arm that was followed over its training."""
    from rich.padding import Padding
    from rich.text import Text

    said = over_training(panel)
    if said:
        console.print(Text("over training, with the probability of the shape:"))
    for line in said:
        console.print(Padding(Text(reveal_hidden(line)), (0, 0, 0, 2)))


def _verdict(console: Any, judged: VerdictText, *, brief: bool) -> None:
    """With `brief` only what is said first of every family: how far it came, and its controls."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(reveal_hidden(judged.lead), "bold"))
    for family in judged.families:
        text = Text.assemble(
            (f"{reveal_hidden(family.heading)}: ", "bold"),
            reveal_hidden(" ".join(family.sentences[: 2 if brief else None])),
        )
        console.print(Padding(text, (0, 0, 0, 2)))
    if brief:
        console.print(Text("  Rivals, expansion, leak and every other arm: in report.html.", "dim"))
    for sentence in judged.closing:
        console.print(Text(reveal_hidden(sentence)))
    for sentence in judged.cautions:
        console.print(Padding(Text(f"! {reveal_hidden(sentence)}"), (0, 0, 0, 2)))


def _columns(panel: ModelPanel) -> tuple[list[_Column], list[_Column], list[_Column]]:
    """(the figures that answer the question, those that describe the answers, what the arms cost)."""
    arms = panel.arms

    def versus(arm: Arm) -> tuple[str, str]:
        if arm.role == "reference":
            return "reference", ""
        found = arm.read_difference("vs_sft")
        return _with(found.estimate, signed=True), format_p_value(found.p_holm)

    against = [versus(arm) for arm in arms]
    main = [
        _Column("accuracy %", [_with(arm.accuracy) for arm in arms]),
        _Column("gap recovered", [format_fraction(arm.gap, minus="-") for arm in arms]),
        _Column("points to SFT", [text for text, _ in against]),
        _Column("Holm p", [p for _, p in against]),
    ]
    rest = [
        _Column("n × seeds", [f"{read_finite_number(arm.data.get('n')) or 0:.0f} × {arm.seeds}" for arm in arms]),
        _Column("finished %", [format_percent(arm.read_estimate("finished_rate").value, 0, minus="-") for arm in arms]),
        _Column(
            "tokens/problem", [format_number(arm.read_estimate("tokens_per_problem").value, minus="-") for arm in arms]
        ),
    ]
    if panel.sees_traces:
        rates = [format_percent(arm.read_estimate("trace_rate").value, 0, minus="-") for arm in arms]
        rest.insert(1, _Column("traces %", rates))
    if any(arm.read_difference("leak").estimate.value is not None for arm in arms):
        rest.append(_Column("leak", [_with(arm.read_difference("leak").estimate, signed=True) for arm in arms]))

    def cost(key: str) -> list[str]:
        return [format_amount(read_finite_number(get_nested(arm.data, "budget", key))) for arm in arms]

    costs = [
        _Column("training tokens", cost("train_tokens")),
        _Column("generated in fit", cost("fit_generated_tokens")),
        _Column("labels", cost("labels")),
        _Column("seconds", cost("seconds")),
    ]
    return main, rest, [column for column in costs if any(cell != DASH for cell in column.cells)]


def _name(arm: Arm) -> str:
    mark = "" if arm.status == "done" else f" ({arm.status})"
    if arm.failures and arm.seeds:
        mark = f" ({len(arm.failures)} seed{'s' if len(arm.failures) > 1 else ''} failed)"
    return reveal_hidden(f"{'' if arm.parent is None else '  '}{arm.short_name}{' *' if arm.verifier else ''}{mark}")


def _with(figure: OptionalEstimate, *, signed: bool = False) -> str:
    value = format_percent(figure.value, signed=signed, minus="-")
    return f"{value} {format_interval(figure, 0, minus='-')}".strip() if figure.value is not None else value


def _table(panel: ModelPanel, columns: Sequence[_Column]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, collapse_padding=True)
    for column in columns:
        table.add_column(column.head, justify="left" if column.head == "arm" else "right", no_wrap=True)
    styles = {"failed": "red", "done": ""}
    last = ""
    for i, arm in enumerate(panel.arms):
        if arm.family.key != last and len(panel.arms) > _GROUPED:
            last = arm.family.key
            table.add_row(Text(arm.family.name, "italic"))
        style = styles.get(arm.status, "yellow") or ("dim" if arm.role == "control" else "")
        table.add_row(*(Text(column.cells[i]) for column in columns), style=style)
    return table


def _list(console: Any, panel: ModelPanel, names: _Column, columns: Sequence[_Column]) -> None:
    from rich.text import Text

    for i, _ in enumerate(panel.arms):
        console.print(Text(names.cells[i], "bold"))
        for column in columns:
            console.print(Text(f"    {column.head}: {column.cells[i] or DASH}"))


def _legend(console: Any, found: Sequence[ModelPanel]) -> None:
    from rich.text import Text

    console.print()
    lines = ["[low, high]: 95 % intervals. /name: a control of the arm above it."]
    notes = [str(note) for panel in found for arm in panel.arms if (note := arm.data.get("gap_note"))]
    if any(arm.verifier for panel in found for arm in panel.arms):
        lines.append("*: consults the verifier while answering, so it is not compared with the others.")
    if any(arm.read_difference("leak").estimate.value is not None for panel in found for arm in panel.arms):
        lines.append("leak: points gained on a model that never had the ability; taught, not brought out.")
    lines.append("gap recovered: 0 is the base, 1 the ceiling.")
    lines.append(f"{DASH}: does not apply, or withheld.")
    lines += [f"  gap recovered is withheld: {fold_onto_line(note)}" for note in dict.fromkeys(notes)]
    if any(arm.role in ("ceiling",) for panel in found for arm in panel.arms):
        lines.append("  a ceiling does not have a share of its own gap.")
    if all(panel.sft is None or panel.sft.accuracy.value is None for panel in found):
        others = [arm.name for panel in found for arm in panel.arms if arm.family.key == "sft" and arm.role == "arm"]
        hint = f" The spec can name one: reference: {others[0]}" if others else ""
        lines.append(f"  no SFT arm finished: differences to it are not shown.{hint}")
    for line in lines:
        console.print(Text(line, "dim"))

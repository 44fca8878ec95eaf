"""Completions side by side, for problems chosen by a rule that is printed above them.

The rule: the first problems in the run's order, whatever happened on them; then, in the same order, the first problem
of every further pattern of right and wrong arms. The second group shows exceptions once each however rare they are, so
it must not be read as a sample, and the page says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from elicit.report.figures import Arm, Panel
from elicit.report.source import Run, answers
from elicit.report.text import marked
from elicit.schema import Row
from elicit.tasks import Problem
from elicit.text import escape

FIRST = 6
PATTERNS = 6


class Shown(NamedTuple):
    problem: str
    label: str


def chosen(by_arm: Mapping[str, Mapping[str, Row]], *, first: int = FIRST, patterns: int = PATTERNS) -> list[Shown]:
    """The problems to show, by the rule above. `by_arm`: arm -> problem -> its own answer."""
    order = list(dict.fromkeys(problem for rows in by_arm.values() for problem in rows))

    def pattern(problem: str) -> tuple[bool | None, ...]:
        return tuple(rows[problem].correct if problem in rows else None for rows in by_arm.values())

    found = [Shown(problem, f"number {i} in the run's order") for i, problem in enumerate(order[:first], start=1)]
    seen = {pattern(shown.problem) for shown in found}
    share: dict[tuple[bool | None, ...], int] = {}
    for problem in order:
        share[pattern(problem)] = share.get(pattern(problem), 0) + 1
    for problem in order[first:]:
        if len(found) == first + patterns:
            break
        if pattern(problem) not in seen:
            seen.add(pattern(problem))
            found.append(
                Shown(
                    problem,
                    f"a further pattern of right and wrong; {share[pattern(problem)]} of {len(order)} problems have it",
                )
            )
    return found


def section(run: Run, panel: Panel) -> str:
    """All arms' completions on the chosen problems of one model."""
    on_disk = run.arms.get(panel.model, {})
    rows = {arm.name: answers(on_disk[arm.name], panel.task) for arm in panel.arms if arm.name in on_disk}
    rows = {arm: mine for arm, mine in rows.items() if mine}
    if not rows:
        return "<p>No arm has written an answer.</p>"
    problems = run.problems.get(panel.model, "the model is not in the spec")
    note = ""
    if isinstance(problems, str):
        note = (
            f'<p class="note">Prompts cannot be shown: the test problems could not be rebuilt ({escape(problems)}).</p>'
        )
        problems = {}
    shown = chosen(rows)
    cards = [
        _problem(item, problems.get(item.problem), rows, panel.arms, is_open=i < 3) for i, item in enumerate(shown)
    ]
    return note + "".join(cards)


def _problem(
    item: Shown, problem: Problem | None, rows: Mapping[str, Mapping[str, Row]], arms: Sequence[Arm], *, is_open: bool
) -> str:
    right = sum(mine[item.problem].correct for mine in rows.values() if item.problem in mine)
    asked = ""
    head = f"problem {escape(item.problem)}"
    if problem is not None:
        head = f"<code>{marked(problem.prompt, 90).replace(chr(10), ' ⏎ ')}</code>"
        asked = (
            f'<p class="asked"><span>prompt</span><code>{marked(problem.prompt)}</code></p>'
            f'<p class="asked"><span>right answer</span><code>{marked(problem.answer, 300)}</code></p>'
        )
    boxes = "".join(_answer(arm, rows[arm.name].get(item.problem), problem) for arm in arms if arm.name in rows)
    return (
        f"<details{' open' if is_open else ''}><summary>{head} <span class=note>{right} of {len(rows)} arms right · "
        f"{escape(item.label)}</span></summary>{asked}<div class=cards>{boxes}</div></details>"
    )


def _answer(arm: Arm, row: Row | None, problem: Problem | None) -> str:
    name = escape(arm.name).replace("/", "/<wbr>")
    if row is None:
        return f'<div class="card missing"><h4>{name}</h4><p class=note>no answer yet</p></div>'
    mark = '<span class="right">✓ right</span>' if row.correct else '<span class="wrong">✗ wrong</span>'
    facts = ["no answer found" if row.answer is None else f"answer {marked(row.answer, 60)}"]
    if row.has_trace:
        facts.append({True: "trace valid", False: "trace has an error", None: "trace"}[row.trace_valid])
    if not row.finished:
        facts.append("cut at the limit")
    facts.append(f"{row.tokens} tokens")
    other = _other_prompt(row, problem)
    return (
        f'<div class="card"><h4>{name} {mark}</h4><pre>{marked(row.completion)}</pre>'
        f"<p class=note>{' · '.join(facts)}</p>{other}</div>"
    )


def _other_prompt(row: Row, problem: Problem | None) -> str:
    """A note where an arm was not given the plain prompt."""
    if problem is None or row.prompt_hash == _hash(problem.prompt):
        return ""
    if problem.cue_prompt is not None and row.prompt_hash == _hash(problem.cue_prompt):
        return f"<p class=note>asked with the cue: <code>{marked(problem.cue_prompt, 300)}</code></p>"
    return "<p class=note>asked with another prompt</p>"


def _hash(prompt: str) -> str:
    """As `evaluation.evaluate` writes it into the row."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]

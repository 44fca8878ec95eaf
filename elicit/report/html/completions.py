"""Completions side by side, for problems chosen by a rule that is printed above them.

1. The first problems in the run's order, whatever happened on them.
2. In the same order, the first problem of every further pattern of right and wrong arms. These show exceptions once
   each however rare they are, so they must not be read as a sample, and the page says so.
3. For every arm, a problem it gains and one it loses against the base and against SFT, where none is there yet.

Arms that wrote the same share a card. A page has a limit: completions are cut shorter, and at last problems left out,
until all fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from elicit.report.data.display_text import render_completion_html
from elicit.report.data.run_reader import LoadedRun, get_first_seed_answers
from elicit.report.data.summary_view import Arm, ModelPanel
from elicit.report.html import flips
from elicit.report.html.names import render_name
from elicit.schema import Row
from elicit.tasks import Problem
from elicit.text import escape_html

FIRST_PROBLEMS = 6
MAX_PATTERNS = 6
#: Further problems at most, that show flips.
MAX_FLIPS = 16
#: Where completions are cut, the longest that fits.
_TEXT_LIMITS = (1500, 700, 300, 120)


class SelectedProblem(NamedTuple):
    problem: str
    label: str


def select_problems(
    by_arm: Mapping[str, Mapping[str, Row]],
    *,
    first: int = FIRST_PROBLEMS,
    patterns: int = MAX_PATTERNS,
    flipped: int = MAX_FLIPS,
    references: Sequence[str] = (),
) -> list[SelectedProblem]:
    """The problems to show, by the rule above. `by_arm`: arm -> problem -> its own answer."""
    order = list(dict.fromkeys(problem for rows in by_arm.values() for problem in rows))

    def get_pattern(problem: str) -> tuple[bool | None, ...]:
        return tuple(rows[problem].correct if problem in rows else None for rows in by_arm.values())

    selection = [
        SelectedProblem(problem, f"number {i} in the run's order") for i, problem in enumerate(order[:first], start=1)
    ]
    seen_patterns = {get_pattern(item.problem) for item in selection}
    pattern_counts: dict[tuple[bool | None, ...], int] = {}
    for problem in order:
        pattern_counts[get_pattern(problem)] = pattern_counts.get(get_pattern(problem), 0) + 1
    for problem in order[first:]:
        if len(selection) == first + patterns:
            break
        if get_pattern(problem) not in seen_patterns:
            seen_patterns.add(get_pattern(problem))
            label = (
                f"a further pattern of right and wrong; {pattern_counts[get_pattern(problem)]} of {len(order)} "
                "problems have it"
            )
            selection.append(SelectedProblem(problem, label))
    return selection + _select_flips(by_arm, {item.problem for item in selection}, flipped, references)


def _select_flips(
    by_arm: Mapping[str, Mapping[str, Row]], selected_ids: set[str], limit: int, references: Sequence[str]
) -> list[SelectedProblem]:
    """Problems that show a flip no other shows, arms in reading order."""
    selection: list[SelectedProblem] = []
    for reference in references:
        for arm, rows in by_arm.items():
            changes = flips.find_flips(rows, by_arm[reference])
            for word, problems in (("gained", changes.gained), ("lost", changes.lost)):
                if problems and not selected_ids & set(problems) and len(selection) < limit:
                    selected_ids.add(problems[0])
                    selection.append(SelectedProblem(problems[0], f"{word} by {arm} against {reference}"))
    return selection


def render_completions(run: LoadedRun, panel: ModelPanel, model_index: int, budget: int) -> str:
    """All arms' completions on the chosen problems of one model, and what every arm gains and loses.

    Args:
        place: the model's number on the page, for anchors.
        budget: bytes that the completions may take.
    """
    arm_data = run.arms.get(panel.model, {})
    rows = {
        arm.name: get_first_seed_answers(arm_data[arm.name], panel.task) for arm in panel.arms if arm.name in arm_data
    }
    rows = {arm: arm_rows for arm, arm_rows in rows.items() if arm_rows}
    if not rows:
        return "<p>No arm has written an answer.</p>"
    problems = run.problems.get(panel.model, "the model is not in the spec")
    note = ""
    if isinstance(problems, str):
        note = f"Prompts cannot be shown: the test problems could not be rebuilt ({problems}). "
        problems = {}
    references = [arm.name for arm in (panel.base, panel.sft) if arm is not None and arm.name in rows]
    selection = select_problems(rows, references=references)
    cards, text_limit = _fit_cards(selection, problems, rows, panel.arms, model_index, budget)
    if text_limit < _TEXT_LIMITS[0]:
        note += f"To keep this page small, texts are cut at {text_limit} characters. "
    if len(cards) < len(selection):
        note += (
            f"To keep this page small, {len(selection) - len(cards)} of {len(selection)} chosen problems are left out. "
        )
    anchors = {item.problem: (make_anchor(model_index, i), i + 1) for i, item in enumerate(selection[: len(cards)])}
    table = flips.render_flips_table([arm for arm in panel.arms if arm.name in rows], rows, references, anchors)
    return table + (f'<p class="note">{escape_html(note)}</p>' if note else "") + "".join(cards)


def make_anchor(model_index: int, problem_index: int) -> str:
    return f"a-{model_index}-{problem_index + 1}"


def _fit_cards(
    selection: Sequence[SelectedProblem],
    problems: Mapping[str, Problem],
    rows: Mapping[str, Mapping[str, Row]],
    arms: Sequence[Arm],
    model_index: int,
    budget: int,
) -> tuple[list[str], int]:
    """(one piece of page for each problem that fits, where its texts are cut)."""
    cards: list[str] = []
    for text_limit in _TEXT_LIMITS:
        cards = [
            _render_problem(
                item, problems.get(item.problem), rows, arms, make_anchor(model_index, i), i + 1, text_limit
            )
            for i, item in enumerate(selection)
        ]
        if sum(len(card.encode()) for card in cards) <= budget:
            return cards, text_limit
    fitting_cards: list[str] = []
    for card in cards:
        budget -= len(card.encode())
        if budget < 0:
            break
        fitting_cards.append(card)
    return fitting_cards, _TEXT_LIMITS[-1]


def _render_problem(
    item: SelectedProblem,
    problem: Problem | None,
    rows: Mapping[str, Mapping[str, Row]],
    arms: Sequence[Arm],
    name: str,
    number: int,
    text_limit: int,
) -> str:
    correct_count = sum(arm_rows[item.problem].correct for arm_rows in rows.values() if item.problem in arm_rows)
    prompt_markup = ""
    head = f"problem {escape_html(item.problem)}"
    if problem is not None:
        head = f"<code>{render_completion_html(problem.prompt, 90).replace(chr(10), ' ⏎ ')}</code>"
        prompt_markup = (
            f'<p class="asked"><span>prompt</span><code>{render_completion_html(problem.prompt, text_limit)}</code></p>'
            f'<p class="asked"><span>right answer</span><code>{render_completion_html(problem.answer, 300)}</code></p>'
        )
    groups: dict[tuple[object, ...], list[str]] = {}
    row_of_group: dict[tuple[object, ...], Row] = {}
    missing = []
    for arm in arms:
        row = rows.get(arm.name, {}).get(item.problem)
        if row is None:
            missing += [arm.name] if arm.name in rows else []
            continue
        group_key = (
            row.completion,
            row.prompt_hash,
            row.answer,
            row.correct,
            row.has_trace,
            row.trace_valid,
            row.finished,
        )
        groups.setdefault(group_key, []).append(arm.name)
        row_of_group.setdefault(group_key, row)
    boxes = "".join(
        _render_answer(names, row_of_group[group_key], problem, text_limit) for group_key, names in groups.items()
    )
    if missing:
        boxes += f'<div class="card missing"><h5>{_join_arm_names(missing)}</h5><p class=note>no answer yet</p></div>'
    return (
        f"<details{' open' if number <= 2 else ''}><summary>{number}. {head} <span class=note>{correct_count} of "
        f"{len(rows)} "
        f'arms right · {escape_html(item.label)}</span></summary><div id="{name}">{prompt_markup}<div '
        f"class=cards>{boxes}</div>"
        "</div></details>"
    )


def _join_arm_names(arms: Sequence[str]) -> str:
    return " · ".join(map(render_name, arms))


def _render_answer(arms: Sequence[str], row: Row, problem: Problem | None, text_limit: int) -> str:
    mark = '<span class="right">✓ right</span>' if row.correct else '<span class="wrong">✗ wrong</span>'
    facts = ["no answer found" if row.answer is None else f"answer {render_completion_html(row.answer, 60)}"]
    if row.has_trace:
        facts.append({True: "trace valid", False: "trace has an error", None: "trace"}[row.trace_valid])
    if not row.finished:
        facts.append("cut at the limit")
    facts.append(f"{row.tokens} tokens" + (f" ({escape_html(arms[0])})" if len(arms) > 1 else ""))
    prompt_note = _render_prompt_note(row, problem, text_limit)
    return (
        f'<div class="card"><h5>{_join_arm_names(arms)} '
        f"{mark}</h5><pre>{render_completion_html(row.completion, text_limit)}</pre>"
        f"<p class=note>{' · '.join(facts)}</p>{prompt_note}</div>"
    )


def _render_prompt_note(row: Row, problem: Problem | None, text_limit: int) -> str:
    """A note where an arm was not given the plain prompt."""
    if problem is None or row.prompt_hash == _hash_shown_prompt(problem.prompt):
        return ""
    if problem.cue_prompt is not None and row.prompt_hash == _hash_shown_prompt(problem.cue_prompt):
        return (
            "<p class=note>asked with the cue: "
            f"<code>{render_completion_html(problem.cue_prompt, min(text_limit, 300))}</code></p>"
        )
    arm_prompt = next((text for _, text in problem.other_prompts if row.prompt_hash == _hash_shown_prompt(text)), None)
    if arm_prompt is not None:
        return f"<p class=note>asked: <code>{render_completion_html(arm_prompt, min(text_limit, 300))}</code></p>"
    return "<p class=note>asked with another prompt</p>"


def _hash_shown_prompt(prompt: str) -> str:
    """As `evaluation.evaluate` writes it into the row."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]

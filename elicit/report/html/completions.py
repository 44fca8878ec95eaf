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

from elicit.report.data.display_text import marked
from elicit.report.data.run_reader import Run, answers
from elicit.report.data.summary_view import Arm, Panel
from elicit.report.html import flips
from elicit.schema import Row
from elicit.tasks import Problem
from elicit.text import escape

FIRST = 6
PATTERNS = 6
#: Further problems at most, that show flips.
FLIPPED = 16
#: Where completions are cut, the longest that fits.
_CUTS = (1500, 700, 300, 120)


class Shown(NamedTuple):
    problem: str
    label: str


def chosen(
    by_arm: Mapping[str, Mapping[str, Row]],
    *,
    first: int = FIRST,
    patterns: int = PATTERNS,
    flipped: int = FLIPPED,
    references: Sequence[str] = (),
) -> list[Shown]:
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
            have = f"a further pattern of right and wrong; {share[pattern(problem)]} of {len(order)} problems have it"
            found.append(Shown(problem, have))
    return found + _flipped(by_arm, {shown.problem for shown in found}, flipped, references)


def _flipped(
    by_arm: Mapping[str, Mapping[str, Row]], there: set[str], limit: int, references: Sequence[str]
) -> list[Shown]:
    """Problems that show a flip no other shows, arms in reading order."""
    found: list[Shown] = []
    for reference in references:
        for arm, rows in by_arm.items():
            changed = flips.between(rows, by_arm[reference])
            for word, problems in (("gained", changed.gained), ("lost", changed.lost)):
                if problems and not there & set(problems) and len(found) < limit:
                    there.add(problems[0])
                    found.append(Shown(problems[0], f"{word} by {arm} against {reference}"))
    return found


def section(run: Run, panel: Panel, place: int, budget: int) -> str:
    """All arms' completions on the chosen problems of one model, and what every arm gains and loses.

    Args:
        place: the model's number on the page, for anchors.
        budget: bytes that the completions may take.
    """
    on_disk = run.arms.get(panel.model, {})
    rows = {arm.name: answers(on_disk[arm.name], panel.task) for arm in panel.arms if arm.name in on_disk}
    rows = {arm: mine for arm, mine in rows.items() if mine}
    if not rows:
        return "<p>No arm has written an answer.</p>"
    problems = run.problems.get(panel.model, "the model is not in the spec")
    note = ""
    if isinstance(problems, str):
        note = f"Prompts cannot be shown: the test problems could not be rebuilt ({problems}). "
        problems = {}
    references = [arm.name for arm in (panel.base, panel.sft) if arm is not None and arm.name in rows]
    shown = chosen(rows, references=references)
    cards, cut = _within(shown, problems, rows, panel.arms, place, budget)
    if cut < _CUTS[0]:
        note += f"To keep this page small, texts are cut at {cut} characters. "
    if len(cards) < len(shown):
        note += f"To keep this page small, {len(shown) - len(cards)} of {len(shown)} chosen problems are left out. "
    anchors = {item.problem: (anchor(place, i), i + 1) for i, item in enumerate(shown[: len(cards)])}
    table = flips.table([arm for arm in panel.arms if arm.name in rows], rows, references, anchors)
    return table + (f'<p class="note">{escape(note)}</p>' if note else "") + "".join(cards)


def anchor(place: int, i: int) -> str:
    return f"a-{place}-{i + 1}"


def _within(
    shown: Sequence[Shown],
    problems: Mapping[str, Problem],
    rows: Mapping[str, Mapping[str, Row]],
    arms: Sequence[Arm],
    place: int,
    budget: int,
) -> tuple[list[str], int]:
    """(one piece of page for each problem that fits, where its texts are cut)."""
    cards: list[str] = []
    for cut in _CUTS:
        cards = [
            _problem(item, problems.get(item.problem), rows, arms, anchor(place, i), i + 1, cut)
            for i, item in enumerate(shown)
        ]
        if sum(len(card.encode()) for card in cards) <= budget:
            return cards, cut
    kept: list[str] = []
    for card in cards:
        budget -= len(card.encode())
        if budget < 0:
            break
        kept.append(card)
    return kept, _CUTS[-1]


def _problem(
    item: Shown,
    problem: Problem | None,
    rows: Mapping[str, Mapping[str, Row]],
    arms: Sequence[Arm],
    name: str,
    number: int,
    cut: int,
) -> str:
    right = sum(mine[item.problem].correct for mine in rows.values() if item.problem in mine)
    asked = ""
    head = f"problem {escape(item.problem)}"
    if problem is not None:
        head = f"<code>{marked(problem.prompt, 90).replace(chr(10), ' ⏎ ')}</code>"
        asked = (
            f'<p class="asked"><span>prompt</span><code>{marked(problem.prompt, cut)}</code></p>'
            f'<p class="asked"><span>right answer</span><code>{marked(problem.answer, 300)}</code></p>'
        )
    groups: dict[tuple[object, ...], list[str]] = {}
    kept: dict[tuple[object, ...], Row] = {}
    missing = []
    for arm in arms:
        row = rows.get(arm.name, {}).get(item.problem)
        if row is None:
            missing += [arm.name] if arm.name in rows else []
            continue
        same = (row.completion, row.prompt_hash, row.answer, row.correct, row.has_trace, row.trace_valid, row.finished)
        groups.setdefault(same, []).append(arm.name)
        kept.setdefault(same, row)
    boxes = "".join(_answer(names, kept[same], problem, cut) for same, names in groups.items())
    if missing:
        boxes += f'<div class="card missing"><h5>{_names(missing)}</h5><p class=note>no answer yet</p></div>'
    return (
        f"<details{' open' if number <= 2 else ''}><summary>{number}. {head} <span class=note>{right} of {len(rows)} "
        f'arms right · {escape(item.label)}</span></summary><div id="{name}">{asked}<div class=cards>{boxes}</div>'
        "</div></details>"
    )


def _names(arms: Sequence[str]) -> str:
    return " · ".join(escape(arm).replace("/", "/<wbr>") for arm in arms)


def _answer(arms: Sequence[str], row: Row, problem: Problem | None, cut: int) -> str:
    mark = '<span class="right">✓ right</span>' if row.correct else '<span class="wrong">✗ wrong</span>'
    facts = ["no answer found" if row.answer is None else f"answer {marked(row.answer, 60)}"]
    if row.has_trace:
        facts.append({True: "trace valid", False: "trace has an error", None: "trace"}[row.trace_valid])
    if not row.finished:
        facts.append("cut at the limit")
    facts.append(f"{row.tokens} tokens" + (f" ({escape(arms[0])})" if len(arms) > 1 else ""))
    other = _other_prompt(row, problem, cut)
    return (
        f'<div class="card"><h5>{_names(arms)} {mark}</h5><pre>{marked(row.completion, cut)}</pre>'
        f"<p class=note>{' · '.join(facts)}</p>{other}</div>"
    )


def _other_prompt(row: Row, problem: Problem | None, cut: int) -> str:
    """A note where an arm was not given the plain prompt."""
    if problem is None or row.prompt_hash == _hash(problem.prompt):
        return ""
    if problem.cue_prompt is not None and row.prompt_hash == _hash(problem.cue_prompt):
        return f"<p class=note>asked with the cue: <code>{marked(problem.cue_prompt, min(cut, 300))}</code></p>"
    known = next((text for _, text in problem.other_prompts if row.prompt_hash == _hash(text)), None)
    if known is not None:
        return f"<p class=note>asked: <code>{marked(known, min(cut, 300))}</code></p>"
    return "<p class=note>asked with another prompt</p>"


def _hash(prompt: str) -> str:
    """As `evaluation.evaluate` writes it into the row."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]

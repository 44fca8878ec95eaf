"""Render the page as text."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence

from elicit.doctor.facts import Fact
from elicit.doctor.spread import ConditionResult, Spread
from elicit.selftest import Check

_WIDTH = 120


def render_model_page(facts: Sequence[Fact], checks: Sequence[Check], spread: Spread | None) -> str:
    """Render everything about one model, section by section."""
    parts = [*_render_facts(facts), *_render_checks(checks), *(_render_spread(spread) if spread is not None else ())]
    return "\n".join(parts)


def _render_facts(facts: Sequence[Fact]) -> Iterator[str]:
    width = max(len(fact.name) for fact in facts)
    for section, group in itertools.groupby(facts, lambda fact: fact.section):
        yield f"{section}"
        for fact in group:
            yield _wrap_line(f"  {fact.name:<{width}}  {fact.value}", width + 4)
            if fact.caution:
                yield _wrap_line(f"  {'':<{width}}  ! {fact.caution}", width + 6)


def _wrap_line(line: str, indent: int) -> str:
    return textwrap.fill(line, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, drop_whitespace=False)


def _render_checks(checks: Sequence[Check]) -> Iterator[str]:
    if not checks:
        return
    yield "self-test"
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield f"  {'ok ' if check.passed else 'BAD'} {check.name:<{width}}  {check.detail}"


def _render_spread(spread: Spread) -> Iterator[str]:
    low, high = spread.range
    yield (
        f"spread: {spread.model} on {spread.task}, n = {spread.n} test problems (seed {spread.seed}), greedy, at most "
        f"{spread.max_new_tokens} new tokens"
    )
    yield f"  accuracy in % [Wilson's 95 % interval]: {100 * low:.0f} to {100 * high:.0f} by how it is asked and read"
    readings = list(dict.fromkeys(name for row in spread.results for name in row.accuracy))
    first = max(len("condition"), *(len(row.condition) for row in spread.results))
    cells = [max(len(name), 12) for name in readings]
    heads = "  ".join(f"{name:>{width}}" for name, width in zip(readings, cells, strict=True))
    yield f"  {'condition':<{first}}  {heads}  {'finished':>8}  {'tokens':>6}"
    for row in spread.results:
        accuracies = "  ".join(
            f"{_format_accuracy_interval(row, name):>{width}}" for name, width in zip(readings, cells, strict=True)
        )
        yield f"  {row.condition:<{first}}  {accuracies}  {100 * row.finished:>7.0f}%  {row.tokens:>6.0f}"
    for row in spread.results:
        if row.thinking_cut > 0:
            yield f"  ! {row.condition}: {100 * row.thinking_cut:.0f} % were cut while still thinking"
    for name, why in spread.left_out:
        yield _wrap_line(f"  ! {name}: left out. {why}", 4)


def _format_accuracy_interval(row: ConditionResult, reading: str) -> str:
    estimate = row.accuracy.get(reading)
    if estimate is None or estimate.ci is None:
        return "–"
    low, high = (100 * bound for bound in estimate.ci)
    return f"{100 * estimate.value:.0f} [{low:.0f}, {high:.0f}]"

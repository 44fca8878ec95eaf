"""The wording of the sections on training, on one page of synthetic summaries; other tests of them check facts.

After a change of words, write the page anew and read its diff:

    python -m tests.report.training_page
"""

from __future__ import annotations

from elicit.report.charts import tradeoff
from elicit.report.charts.tradeoff import OUTCOMES, PathFacts
from elicit.report.trajectories import curve_facts, warning_facts
from elicit.report.trajectories.curve_facts import CurveFacts
from elicit.report.trajectories.text import SHAPE_NAMES
from tests.report.fact_parts import iter_fact_parts, list_fact_kinds
from tests.report.training_page import PAGE, iter_facts, list_summaries, write_page

_HINT = "run `python -m tests.report.training_page`, read the diff"


def test_the_page_says_what_was_reviewed() -> None:
    assert write_page() == PAGE.read_text(encoding="utf-8"), _HINT


def test_the_page_holds_every_kind_of_fact() -> None:
    facts = [fact for data in list_summaries().values() for fact in iter_facts(data)]
    seen = {part for fact in facts for part in iter_fact_parts(fact)}
    assert list_fact_kinds(curve_facts, warning_facts, tradeoff) - seen == set()
    assert {fact.shape.shape for fact in facts if isinstance(fact, CurveFacts)} == {"", *SHAPE_NAMES}
    assert {fact.outcome for fact in facts if isinstance(fact, PathFacts)} == set(OUTCOMES)

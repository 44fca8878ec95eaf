"""The wording of a verdict, on one page of synthetic runs; every other test of the verdict checks facts.

After a change of words, write the page anew and read its diff:

    python -m tests.report.verdict_runs
"""

from __future__ import annotations

from elicit.report.verdict import arm_facts, caution_facts, facts, judge_summary, kinds, write_verdict
from tests.report.fact_parts import iter_fact_parts, list_fact_kinds
from tests.report.synthetic import big_summary
from tests.report.verdict_runs import PAGE, list_summaries, write_page


def test_the_page_says_what_was_reviewed() -> None:
    assert write_page() == PAGE.read_text(encoding="utf-8"), "run `python -m tests.report.verdict_runs`, read the diff"


def test_the_page_holds_every_kind_of_fact() -> None:
    """No kind of sentence escapes review: every class of facts, every member of every kind, every flag both ways."""
    seen = {part for data in list_summaries().values() for v in judge_summary(data) for part in iter_fact_parts(v)}
    assert list_fact_kinds(arm_facts, caution_facts, facts, kinds) - seen == set()


def test_the_words_on_forty_arms_are_few() -> None:
    text = write_verdict(judge_summary(big_summary(1))[0])
    assert max(len(family.sentences) for family in text.families) <= 9
    assert sum(len(family.sentences) for family in text.families) <= 40

"""Task made of records: the one implementation behind JSONL files, datasets, GSM8K and MATH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elicit import seeds
from elicit.errors import ElicitError
from elicit.tasks.core import (
    FewShotPrefix,
    Noisy,
    Problem,
    Split,
    Verdict,
    check_count,
    check_split,
    render_examples,
    split_of,
    too_few_error,
)
from elicit.tasks.datasets.formats import RecordFormat, TextFormat
from elicit.tasks.datasets.records import ProblemRecord


@dataclass(frozen=True)
class RecordTask:
    """A `Task` made of a table's problems; see `jsonl.load_jsonl` and `dataset.load_dataset`."""

    name: str
    records: tuple[ProblemRecord, ...] = field(repr=False)
    format: RecordFormat = TextFormat()  # noqa: RUF009 - frozen
    template: str = "{prompt}"
    stop: tuple[str, ...] = ()
    guessed_stop: bool = False
    """True if `stop` is the default for a template, which chat prompts do without."""
    max_new_tokens: int = 256
    unit: str = "lines"
    """Word for the table's records in messages."""
    notes: tuple[str, ...] = ()
    """Rows left out while reading, in words for people."""
    description: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The task as a spec writes it: `elicit.tasks.get(**description)` makes it again."""

    @property
    def chat_stop(self) -> tuple[str, ...]:
        return () if self.guessed_stop else self.stop

    @property
    def answer_space(self) -> int | None:
        """Number of options, if it is the same for all problems; None otherwise."""
        sizes = {len(record.choices) for record in self.records}
        size = sizes.pop()
        return None if sizes or not size else size

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        """`n` problems of a split (default: all of them), in an order that depends on the seed alone.

        Raises:
            ElicitError: unknown split, or fewer than `n` problems in it (without `n`: an empty split).
        """
        check_split(split)
        pool = sorted(
            (record for record in self.records if self.split_of_record(record) == split), key=lambda record: record.id
        )
        count = max(1, len(pool)) if n is None else check_count(self.name, n)
        if count > len(pool):
            raise self._too_few_error(split, count, len(pool))
        order = seeds.make_generator("problems", "jsonl", split, seed).permutation(len(pool))
        return [self._make_problem(pool[index]) for index in order.tolist()[:count]]

    @staticmethod
    def split_of_record(record: ProblemRecord) -> Split:
        """The source's split, else a hash of the group, else of the id."""
        return record.split or split_of(record.group or record.id)

    def _too_few_error(self, split: Split, requested: int, available: int) -> ElicitError:
        if not available and any(record.split for record in self.records):
            there = ", ".join(sorted({str(record.split) for record in self.records}))
            return ElicitError(
                f"task {self.name!r} has no problems for split {split!r} (it has {there}). Map one of the dataset's "
                f"splits to it, such as splits: {{{split}: NAME}}, or leave out splits to divide all problems by hash."
            )
        where = f"among the {'file' if self.unit == 'lines' else 'dataset'}'s {len(self.records)} {self.unit}"
        remedy = "add lines to the file" if self.unit == "lines" else "map a larger split"
        return too_few_error(self.name, split, requested, available, pool=where, remedy=remedy)

    def prompts(self, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
        return [problem.prompt for problem in self.problems(split, n, seed)]

    def _make_problem(self, record: ProblemRecord) -> Problem:
        cue = record.cue_prompt
        return Problem(
            id=record.id,
            prompt=self.template.replace("{prompt}", record.prompt),
            answer=self.format.make_reader(record).gold,
            cue_prompt=None if cue is None else self.template.replace("{prompt}", cue),
            group=record.group,
            content=record,
        )

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge a completion by its answer; steps are not checked, so `trace_valid` is None."""
        reader = self.format.make_reader(problem.content)
        parsed = reader.parse_answer(completion)
        right = parsed is not None and reader.is_correct(completion, parsed)
        return Verdict(None if parsed is None else parsed.answer, right, reader.has_trace(completion), None)

    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        parsed = self.format.make_reader(problem.content).parse_answer(completion)
        return None if parsed is None else (parsed.start, parsed.end)

    def worked(self, problem: Problem) -> str | None:
        record: ProblemRecord = problem.content
        return record.worked

    def theorem(self, problem: Problem) -> str | None:
        record: ProblemRecord = problem.content
        return record.theorem

    def direct(self, problem: Problem) -> str:
        """The answer as the source has it, with the format's mark if the reader needs it."""
        record: ProblemRecord = problem.content
        reader = self.format.make_reader(record)
        parsed = reader.parse_answer(record.answer)
        bare = parsed is not None and parsed.answer == reader.gold
        return record.answer if bare else self.format.add_marker(record.answer)

    def examples(self, pairs: Sequence[tuple[Problem, str]], between: str | None = None) -> FewShotPrefix:
        return render_examples(self.stop, pairs, between)

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy | None:
        """The source's candidate solution (one per problem, whatever the seed), with a critique in any case."""
        record: ProblemRecord = problem.content
        if record.noisy is None:
            return None
        if record.critique is not None:
            return Noisy(record.noisy, bool(record.noisy_correct), None, None, record.critique)
        verdict = self.verify(problem, record.noisy)
        if verdict.correct:
            return Noisy(record.noisy, True, None, None, "the answer is right. verdict: right")
        critique = f"answer: {problem.answer}, not {verdict.answer or 'this'}. verdict: wrong"
        return Noisy(record.noisy, False, "answer", None, critique)

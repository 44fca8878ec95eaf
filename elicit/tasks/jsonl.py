"""Problems from the user's own file: one JSON object a line.

    {"prompt": "How many legs have three cats?", "answer": "12", "worked": "A cat has 4 legs. 3 * 4 = 12"}

`prompt` and `answer` are required. Optional: `id`, `group`, `cue_prompt`, `worked`, `theorem` (a worked solution that
states its rules) and `noisy` (a candidate solution as text, or `{"text", "critique", "correct"}`). The split of a
problem is a hash of its group, else of its id, else of its prompt, so that adding lines moves no problem; problems of
one group are never divided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elicit import seeds
from elicit.errors import ElicitError, one_line
from elicit.tasks.core import (
    Noisy,
    Problem,
    Shown,
    Split,
    Verdict,
    check_count,
    check_split,
    in_front,
    split_of,
    too_few,
)
from elicit.tasks.extraction import Reader, check_pattern
from elicit.tasks.lines import bad_lines, content, existing
from elicit.tasks.parameters import whole_parameter
from elicit.tasks.records import Record, read_records

_EXAMPLE = '{"prompt": "...", "answer": "..."}'
_KIND = "task file"


@dataclass(frozen=True)
class JsonlTask:
    """A `Task` made of a file's problems; see `load_jsonl`."""

    name: str
    records: tuple[Record, ...] = field(repr=False)
    template: str = "{prompt}"
    answer_pattern: str | None = None
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 256

    @property
    def answer_space(self) -> None:
        return None

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        """`n` problems of a split (default: all of them), in an order that depends on the seed alone.

        Raises:
            ElicitError: unknown split, or fewer than `n` problems in it (without `n`: none).
        """
        check_split(split)
        pool = sorted(
            (record for record in self.records if split_of(record.group or record.id) == split),
            key=lambda record: record.id,
        )
        wanted = max(1, len(pool)) if n is None else check_count(self.name, n)
        if wanted > len(pool):
            where = f"among the file's {len(self.records)} lines"
            raise too_few(self.name, split, wanted, len(pool), pool=where, remedy="add lines to the file")
        order = seeds.generator("problems", "jsonl", split, seed).permutation(len(pool))
        return [self._problem(pool[place]) for place in order.tolist()[:wanted]]

    def prompts(self, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
        return [problem.prompt for problem in self.problems(split, n, seed)]

    def _problem(self, record: Record) -> Problem:
        cue = record.cue_prompt
        return Problem(
            id=record.id,
            prompt=self.template.replace("{prompt}", record.prompt),
            answer=self._reader(record).gold,
            cue_prompt=None if cue is None else self.template.replace("{prompt}", cue),
            group=record.group,
            content=record,
        )

    def _reader(self, record: Record) -> Reader:
        return Reader(record.answer, self.answer_pattern)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge a completion by its answer; steps are not checked, so `trace_valid` is None.

        `has_trace`: there are two or more lines of text, or an equals sign before the answer.
        """
        reader = self._reader(problem.content)
        answer = reader.answer(completion)
        return Verdict(answer, answer == reader.gold, reader.has_trace(completion), None)

    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        return self._reader(problem.content).span(completion)

    def worked(self, problem: Problem) -> str | None:
        record: Record = problem.content
        return record.worked

    def theorem(self, problem: Problem) -> str | None:
        record: Record = problem.content
        return record.theorem

    def direct(self, problem: Problem) -> str:
        """The answer as the file has it."""
        record: Record = problem.content
        return record.answer

    def examples(self, pairs: Sequence[tuple[Problem, str]], between: str | None = None) -> Shown:
        return in_front(self.stop, pairs, between)

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy | None:
        """The file's candidate solution (one a problem, whatever the seed); without a critique, one is written."""
        record: Record = problem.content
        if record.noisy is None:
            return None
        if record.critique is not None:
            return Noisy(record.noisy, bool(record.noisy_correct), None, None, record.critique)
        verdict = self.verify(problem, record.noisy)
        if verdict.correct:
            return Noisy(record.noisy, True, None, None, "the answer is right. verdict: right")
        critique = f"answer: {problem.answer}, not {verdict.answer or 'this'}. verdict: wrong"
        return Noisy(record.noisy, False, "answer", None, critique)


def load_jsonl(
    path: str | Path,
    *,
    answer_pattern: str | None = None,
    stop: str | Sequence[str] = (),
    template: str = "{prompt}",
    max_new_tokens: int = 256,
    name: str | None = None,
) -> JsonlTask:
    """A task from a JSONL file.

    Args:
        path: the file, UTF-8, one object a line; blank lines are skipped.
        answer_pattern: regular expression with one group that holds the answer; its last match counts. Without it,
            the last number of the completion or, where the right answer is no number, its last line of text.
        stop: strings that end a completion.
        template: what the model is shown; `{prompt}` stands for the line's prompt (and for its cue prompt).
        max_new_tokens: longest completion, in tokens.
        name: the task's name in tables (default: the file's name without its ending).

    Raises:
        ElicitError: a file that cannot be read, bad lines (the first few are listed by number), a bad option.
    """
    file = existing(path, _KIND, "task 'jsonl'")
    title = file.stem if name is None else name
    if not isinstance(title, str) or not title.strip():
        raise ElicitError(f"task 'jsonl': name is {one_line(repr(title), 60)}; expected text.")
    if not isinstance(template, str) or "{prompt}" not in template:
        given = one_line(repr(template), 80)
        raise ElicitError(f"task 'jsonl': template is {given}; expected text with {{prompt}} in it.")
    check_pattern(answer_pattern)
    whole_parameter("jsonl", "max_new_tokens", max_new_tokens, 1, 1_000_000)
    records, bad = read_records(content(file, _KIND))
    bad += _contradictions(records, answer_pattern)
    if bad:
        raise bad_lines(file, _KIND, bad, _EXAMPLE)
    if not records:
        raise ElicitError(f"task file {str(file)!r} is empty; expected one problem a line: {_EXAMPLE}")
    kept = tuple(record for _, record in records)
    return JsonlTask(title, kept, template, answer_pattern, _stops(stop), max_new_tokens)


def _stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, list | tuple) or not all(isinstance(text, str) and text for text in stops):
        given = one_line(repr(stop), 60)
        raise ElicitError(f"task 'jsonl': stop is {given}; expected a list of texts that are not empty.")
    return tuple(stops)


def _contradictions(records: list[tuple[int, Record]], answer_pattern: str | None) -> list[tuple[int, str]]:
    """Lines whose own answer, worked solution or right candidate would be judged wrong."""
    bad = []
    for line, record in records:
        reader = Reader(record.answer, answer_pattern)
        if problem := reader.unusable():
            bad.append((line, f"'answer' {problem}"))
        elif record.worked is not None and reader.answer(record.worked) != reader.gold:
            bad.append((line, _other("'worked'", reader.answer(record.worked), reader.gold)))
        elif record.theorem is not None and reader.answer(record.theorem) != reader.gold:
            bad.append((line, _other("'theorem'", reader.answer(record.theorem), reader.gold)))
        elif record.noisy is not None and record.noisy_correct and reader.answer(record.noisy) != reader.gold:
            bad.append((line, _other("'noisy' is called correct but", reader.answer(record.noisy), reader.gold)))
    return bad


def _other(what: str, found: str | None, gold: str) -> str:
    return f"{what} ends in {one_line(repr(found), 40)}, not in the answer {one_line(repr(gold), 40)}"

"""The base class for an answer reader of your own: one method to write.

    # last_word.py
    import re
    from elicit.tasks import ParsedAnswer, ReaderBase

    class LastWord(ReaderBase):
        '''The last word counts: "It must be Paris." -> "paris".'''

        def parse_answer(self, completion):
            words = list(re.finditer(r"[^\\W\\d_]+", completion))
            return ParsedAnswer(words[-1][0].lower(), *words[-1].span()) if words else None

    task: {task: jsonl, path: capitals.jsonl, read: last_word.py:LastWord}

One reader is made for each problem, from the answer in its row. Rows whose own worked solution it would judge wrong are
refused before anything runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from elicit.tasks.answers.reader import ParsedAnswer, has_working_before


class ReaderBase(ABC):
    """An `AnswerReader` whose author writes `parse_answer`."""

    def __init__(self, target: str) -> None:
        self.target = target
        """The right answer, as its row has it."""

    @abstractmethod
    def parse_answer(self, completion: str) -> ParsedAnswer | None:
        """The answer of a completion in canonical form and the characters it stands at; None without one.

        Takes any text, in bounded time, and never runs it as code.
        """

    @property
    def gold(self) -> str:
        """The right answer in canonical form: as `parse_answer` reads the row's."""
        parsed = self.parse_answer(self.target)
        return self.target.strip() if parsed is None else parsed.answer

    def explain_unusable_target(self) -> str | None:
        """Why no completion could ever give this answer, None if one could."""
        return None if self.parse_answer(self.target) is not None else "is not read as an answer by its reader"

    def is_correct(self, completion: str, parsed: ParsedAnswer) -> bool:
        return parsed.answer == self.gold

    def has_trace(self, completion: str) -> bool:
        """True if working stands before the answer: an equation, or a sentence that does more than announce it."""
        return has_working_before(completion, self.parse_answer(completion))

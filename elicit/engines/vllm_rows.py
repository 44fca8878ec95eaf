"""One row on a vLLM server: one sample of one request, from its first token to where the lab says that it ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elicit.engines.vllm_edits import EditFile
from elicit.sampling.decoding import Completion, Decoding, Measure, Request
from elicit.sampling.stopping import Stopper
from elicit.schema import Finish


@dataclass
class Row:
    """A sample on its way; what is known of it grows with every answer."""

    request: Request
    edits: tuple[EditFile, ...]
    key: int
    rank: int | None
    """Rank of its first token, if that is given."""
    limit: int
    """Most new tokens."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    touched: dict[str, set[int]] = field(default_factory=dict)
    """Edit -> absolute positions at which it acted."""
    finish: Finish | None = None

    @property
    def prompt(self) -> int:
        """Number of tokens from which steering's offsets count."""
        return len(self.request.ids) - self.request.forced

    def describe(self, decoding: Decoding, ends: Collection[int]) -> dict[str, Any]:
        """The row as the server takes it, from where it is."""
        first = not self.tokens
        return {
            "ids": [*self.request.ids, *self.tokens],
            "prompt": self.prompt,
            "key": None if decoding.temperature == 0 else str(self.key),
            "start": len(self.tokens),
            # A token given by its rank may end the row: what follows is asked for once it is known.
            "most": 1 if first and self.rank is not None else self.limit - len(self.tokens),
            "filters": {name: getattr(decoding, name) for name in ("temperature", "top_k", "top_p", "min_p")},
            "rank": self.rank if first else None,
            "avoid": list(self.request.avoid) if first else [],
            "edits": [edit.name for edit in self.edits],
            "stop": list(decoding.stop),
            "ends": sorted(ends),
        }

    def take(self, answer: Mapping[str, Any], ends: Collection[int], stopper: Stopper, measure: Measure | None) -> None:
        """Append what the server generated, up to where the row ends by the lab's own rules.

        Raises:
            RuntimeError: an edit acted elsewhere than planned, or did not act.
        """
        sent, first = len(self.request.ids) + len(self.tokens), not self.tokens
        check_touched(self.edits, sent + len(answer["tokens"]) - 1, self.prompt, answer)
        for edit, ranges in answer["touched"].items():
            self.touched.setdefault(edit, set()).update(_to_set(ranges))
        prompt, before = self._split_continued()
        measured = answer["margins" if measure == "margin" else "drawn"]
        for token, logprob, value in zip(answer["tokens"], answer["logprobs"], measured, strict=True):
            self.tokens.append(token)
            self.logprobs.append(logprob)
            self.measured.append(value)
            can_stop = stopper.candidates is not None and bool(stopper.candidates[token])
            if token in ends:
                self.finish = "eos"
            elif can_stop and stopper.has_stop(before + self.tokens, prompt):
                self.finish = "stop"
            elif len(self.tokens) == self.limit:
                self.finish = "length"
            if self.finish is not None:
                return
        if first and self.rank is not None and answer["share"] < self.request.floor:
            self.finish = "length"

    def complete(self, stopper: Stopper, measure: Measure | None) -> Completion:
        """The finished row as the sampler gives it."""
        assert self.finish is not None
        prompt, before = self._split_continued()
        text, _ = stopper.truncate_text(stopper.decode_text(before + self.tokens, prompt))
        read = len(self.request.ids) + len(self.tokens) - 1  # the last token was never read
        firings = sum(1 for touched in self.touched.values() for position in touched if position < read)
        return Completion(
            tuple(self.tokens),
            text,
            self.finish,
            tuple(self.logprobs),
            len(self.request.ids),
            firings,
            () if measure is None else tuple(self.measured),
        )

    def _split_continued(self) -> tuple[tuple[int, ...], list[int]]:
        """(the prompt's ids, ids that already belong to the completion)."""
        length = len(self.request.ids) - self.request.continued
        return self.request.ids[:length], list(self.request.ids[length:])


def check_touched(edits: Sequence[EditFile], read: int, prompt: int, answer: Mapping[str, Any]) -> None:
    """Compare where edits acted with where they were to act.

    Args:
        read: number of tokens that the model has read, of which the first `prompt` count as the prompt.

    Raises:
        RuntimeError: an edit acted elsewhere, or did not act.
    """
    for edit in edits:
        computed = range(int(answer.get("cached", 0)), read)
        planned = {p for p in computed if edit.positions.covers_range(p - (prompt - 1), p - (prompt - 1))}
        touched = _to_set(answer["touched"].get(edit.name, ()))
        wrong = touched - planned if edit.gates else touched ^ planned
        if wrong:
            raise RuntimeError(
                f"vLLM steered at other positions than planned: {len(touched)} instead of {len(planned)}; the first "
                f"difference is at position {min(wrong)}, with a prompt of {prompt} tokens."
            )


def _to_set(ranges: Any) -> set[int]:
    return {position for low, high in ranges for position in range(low, high)}

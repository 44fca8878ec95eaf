"""Measures of a patched run: numbers for every prompt.

`LogitDifference` is read from the logits at the last prompt token; `Answers` from completions that are generated after
the patched prompt, so a patch may change the whole answer that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float

from elicit.errors import ElicitError
from elicit.sampling import Decoding
from elicit.tasks import Problem, Task

if TYPE_CHECKING:
    from elicit.sampling.forward import Engine


class LogitMeasure(Protocol):
    """A number for every prompt, from the logits at its last token; differentiable."""

    @property
    def name(self) -> str: ...

    def measure(
        self, engine: Engine, logits: Float[torch.Tensor, "row vocab"], prompts: Sequence[int]
    ) -> Float[torch.Tensor, " row"]:
        """The number of every row; `prompts` says which prompt each row belongs to."""
        ...


@dataclass(frozen=True)
class LogitDifference:
    """The logit of the token that opens `toward`, less that of the token that opens `against`.

    Each is one text for all prompts, or one for every prompt. Without `against`: log p of `toward` (nats).
    """

    toward: str | Sequence[str]
    against: str | Sequence[str] | None = None

    @property
    def name(self) -> str:
        return "log p" if self.against is None else "logit difference"

    def measure(
        self, engine: Engine, logits: Float[torch.Tensor, "row vocab"], prompts: Sequence[int]
    ) -> Float[torch.Tensor, " row"]:
        """The difference for every row.

        Raises:
            ElicitError: a text without a token, or both begin with the same one.
        """
        toward = self.encode_first_tokens(engine, self.toward, prompts).to(logits.device)
        values = logits.float()
        if self.against is None:
            return values.log_softmax(-1).gather(1, toward[:, None])[:, 0]
        against = self.encode_first_tokens(engine, self.against, prompts).to(logits.device)
        if bool((toward == against).all()):
            raise ElicitError(
                f"logit difference: {self.toward!r} and {self.against!r} begin with the same token, so they do not "
                "differ at the first one. Take texts that do."
            )
        return (values.gather(1, toward[:, None]) - values.gather(1, against[:, None]))[:, 0]

    def encode_first_tokens(self, engine: Engine, texts: str | Sequence[str], prompts: Sequence[int]) -> torch.Tensor:
        """Ids of the tokens that open the texts, one for each of `prompts`."""
        from elicit.loading.continuing import encode_continuation

        listed = [texts] if isinstance(texts, str) else list(texts)
        firsts = []
        for text in listed:
            ids = encode_continuation(engine.tokenizer, text, None)
            if not ids:
                raise ElicitError(f"logit difference: {text!r} has no token.")
            firsts.append(ids[0])
        if isinstance(texts, str):
            return torch.tensor(firsts * len(prompts))
        if prompts and max(prompts) >= len(firsts):
            raise ElicitError(
                f"logit difference: {len(firsts)} texts are given for {max(prompts) + 1} prompts or more."
            )
        return torch.tensor([firsts[i] for i in prompts])


@dataclass(frozen=True, eq=False)
class Answers:
    """Accuracy and trace rate (answers that show worked steps) of what is generated after the patched prompt."""

    task: Task
    problems: Sequence[Problem]
    decoding: Decoding | None = None
    """None: greedy, with the task's length and stop strings."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("accuracy", "trace rate")

    def get_decoding(self) -> Decoding:
        return self.decoding or Decoding(max_new_tokens=self.task.max_new_tokens, stop=self.task.stop)

    def grade(self, prompt: int, text: str) -> tuple[float, float]:
        """(1 if the answer is right, 1 if it shows worked steps) of a prompt's completion."""
        verdict = self.task.verify(self.problems[prompt], text)
        return float(verdict.correct), float(verdict.has_trace)

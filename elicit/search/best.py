"""Best of n: the sample that the task's verifier accepts, or the one the model itself finds most probable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.search.core import Ask, Found, found, sampled

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.sampling import Completion, Decoding, Forward
    from elicit.tasks import Task


@dataclass(frozen=True)
class Verified:
    """`n` samples; the first that the verifier calls right, else the first. Right as often as pass@n."""

    n: int

    kind: ClassVar[str] = "verified"
    verifier: ClassVar[bool] = True

    def find(
        self, model: BaseModel, asks: Sequence[Ask], decoding: Decoding, task: Task, forward: Forward
    ) -> list[Found]:
        answers = []
        for ask, one in zip(asks, sampled(model, asks, decoding, forward, self.n), strict=True):
            right = [task.verify(ask.problem, ask.opening + completion.text).correct for completion in one]
            answers.append(found(ask, one, right.index(True) if any(right) else 0, {"right": sum(right) / self.n}))
        return answers


@dataclass(frozen=True)
class Likeliest:
    """`n` samples; the one with the highest mean log-probability per token, the first among equals.

    The mean is over the completion's tokens, its end included, under the untempered distribution. Completions without
    an answer do not compete, unless none has one.
    """

    n: int

    kind: ClassVar[str] = "likeliest"
    verifier: ClassVar[bool] = False

    def find(
        self, model: BaseModel, asks: Sequence[Ask], decoding: Decoding, task: Task, forward: Forward
    ) -> list[Found]:
        drawn = sampled(model, asks, decoding, forward, self.n)
        return [found(ask, one, self._winner(ask, one, task)) for ask, one in zip(asks, drawn, strict=True)]

    def _winner(self, ask: Ask, completions: Sequence[Completion], task: Task) -> int:
        read = [task.verify(ask.problem, ask.opening + completion.text).answer for completion in completions]
        running = [i for i, answer in enumerate(read) if answer is not None] or list(range(len(read)))
        return max(running, key=lambda i: sum(completions[i].logprobs) / len(completions[i].logprobs))

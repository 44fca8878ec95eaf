"""Best of n: the sample that the task's verifier accepts, or the one the model itself finds most probable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.search.core import Ask, Found, chosen, found, read, sampled

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
        def likeliest(ask: Ask, completions: Sequence[Completion]) -> int:
            answered = [i for i, answer in enumerate(read(ask, completions, task)) if answer is not None]
            running = answered or range(len(completions))
            return max(running, key=lambda i: sum(completions[i].logprobs) / len(completions[i].logprobs))

        return chosen(model, asks, decoding, forward, self.n, likeliest)

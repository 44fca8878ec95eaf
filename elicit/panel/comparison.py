"""One model, unsteered and steered, side by side on the same prompts from the same random numbers.

1. Sample every prompt without edits and with them; the random numbers belong to (seed, prompt), so both sides share
   them and any difference comes from the edits.
2. Put the steered tokens through both, teacher-forced, and take at every token
   KL(steered || base) = sum_v p_s(v) (log p_s(v) - log p_b(v)), in nats, of the untempered distributions behind it.
3. Mark the tokens that one side has and the other has not, and judge both texts where a task is given.

This is the whole computation of the panel and of its static pages; widgets come in elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float

from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.loading.continuing import decode_token
from elicit.model import BaseModel
from elicit.panel import tokens
from elicit.sampling import Completion, Decoding
from elicit.sampling.score import project_to_logits
from elicit.steering import Steering, build_padded_frame
from elicit.tasks import Problem, Task, Verdict


class Token(NamedTuple):
    """One generated token."""

    text: str
    special: bool
    """An end mark: `text` is its name and no part of the completion."""
    changed: bool
    """The other side has no such token at this place."""
    beyond: bool
    """After the stop string: generated, but not part of the completion's text."""


class Shift(NamedTuple):
    """Effect of steering on the distribution that chose one steered token."""

    kl: float
    """KL(steered || base) in nats."""
    p_steered: float
    p_base: float
    """Probability of the token under each."""
    rival: str
    """The base's most probable token there."""
    p_rival: float
    """Its probability under the base."""


class Side(NamedTuple):
    """One completion of one prompt."""

    text: str
    tokens: tuple[Token, ...]
    finish: str
    verdict: Verdict | None
    """None without a task."""
    firings: int
    """(position, edit) pairs that steering touched while the text was written."""


class Pair(NamedTuple):
    """One prompt, completed without steering and with it."""

    prompt: str
    base: Side
    steered: Side
    shifts: tuple[Shift, ...]
    """One for each steered token."""


@dataclass(frozen=True)
class SideBySide:
    """A model's answers with and without edits. `str()` of it is a plain-text view."""

    pairs: tuple[Pair, ...]
    edits: tuple[str, ...]
    """The edits in words, strengths in their own unit and absolute."""
    model: str
    seed: int
    temperature: float
    judged: bool
    """Whether a task judged the texts."""

    @property
    def firings(self) -> int:
        return sum(pair.steered.firings for pair in self.pairs)

    @property
    def mean_kl(self) -> float:
        """Mean KL per steered token over all pairs, in nats."""
        values = [shift.kl for pair in self.pairs for shift in pair.shifts]
        return sum(values) / len(values)

    def count_right(self, side: str) -> int | None:
        """Count the right texts of one side ("base", "steered"); None if nothing judged them."""
        verdicts = [getattr(pair, side).verdict for pair in self.pairs]
        return sum(verdict.correct for verdict in verdicts) if self.judged else None

    def __str__(self) -> str:
        lines = [
            f"{self.model}, seed {self.seed}, temperature {self.temperature:g}: {'; '.join(self.edits) or 'no edit'}"
        ]
        for pair in self.pairs:
            lines.append(f"  {pair.prompt!r}")
            for name, side in (("base", pair.base), ("steered", pair.steered)):
                lines.append(f"    {name:8}{side.text!r}  {_format_verdict(side)}")
        right = f"right: base {self.count_right('base')}, steered {self.count_right('steered')} of {len(self.pairs)}; "
        tail = (
            f"{right if self.judged else ''}KL(steered||base) {self.mean_kl:.3g} nats a token; {self.firings} firings"
        )
        return "\n".join([*lines, tail])

    __repr__ = __str__


def compare_side_by_side(
    model: BaseModel,
    edits: Sequence[Steering],
    prompts: Sequence[str | Problem],
    *,
    task: Task | None = None,
    decoding: Decoding | None = None,
    seed: int = 0,
    base: Sequence[Completion] | None = None,
) -> SideBySide:
    """Complete every prompt without and with `edits`.

    Args:
        prompts: prompts, or problems, whose plain prompt is used.
        task: judges the texts of problems; its stop strings and length are used where no `decoding` is given.
        base: the unsteered completions at this seed and decoding, where they are known already.

    Raises:
        ElicitError: no prompt, an edit that does not fit the model, or one that touches no position.
    """
    if not prompts:
        raise ElicitError("compare: no prompt was given. Give at least one.")
    chosen = decoding or decoding_of(task)
    texts = [item if isinstance(item, str) else item.prompt for item in prompts]
    unsteered = list(base) if base is not None else sample_unsteered(model, texts, chosen, seed)
    with _steer_if_any(model, edits):
        steered = [item[0] for item in model.sample(texts, seed=seed, decoding=chosen)]
    judges = [item if isinstance(item, Problem) else None for item in prompts]
    pairs = []
    for text, problem, left, right in zip(texts, judges, unsteered, steered, strict=True):
        base_marks, steered_marks = tokens.mark_differences(left.tokens, right.tokens)
        base_side = _build_side(model, text, left, base_marks, task, problem)
        steered_side = _build_side(model, text, right, steered_marks, task, problem)
        pairs.append(Pair(text, base_side, steered_side, tuple(measure_shifts(model, edits, text, right.tokens))))
    judged = task is not None and all(problem is not None for problem in judges)
    return SideBySide(tuple(pairs), tuple(map(str, edits)), model.name, seed, chosen.temperature, judged)


def decoding_of(task: Task | None) -> Decoding:
    """Greedy, with a task's stop strings and length."""
    return Decoding() if task is None else Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop)


def sample_unsteered(model: BaseModel, texts: Sequence[str], decoding: Decoding, seed: int) -> list[Completion]:
    """Sample the model without edits: the left side."""
    return [samples[0] for samples in model.sample(texts, seed=seed, decoding=decoding)]


def measure_shifts(model: BaseModel, edits: Sequence[Steering], prompt: str, completion: Sequence[int]) -> list[Shift]:
    """Measure the effect of `edits` on the distribution of each token of `completion`, the same text on both sides."""
    ids = model.encode(prompt)
    with torch.inference_mode():
        base = _compute_log_distributions(model, ids, completion)
        with _steer_if_any(model, edits):
            steered = _compute_log_distributions(model, ids, completion)
        kl = (steered.exp() * (steered - base)).sum(-1).clamp(min=0)
        rivals = base.argmax(-1)
        at = torch.arange(len(completion)), torch.tensor(completion, device=base.device)
        columns = (kl, steered[at].exp(), base[at].exp(), base[at[0], rivals].exp())
    tokenizer = model.tokenizer
    names = [decode_token(tokenizer, rival) or str(tokenizer.decode([rival])) for rival in rivals.tolist()]
    return [
        Shift(k, p, b, name, r)
        for k, p, b, r, name in zip(*(column.tolist() for column in columns), names, strict=True)
    ]


def _steer_if_any(model: BaseModel, edits: Sequence[Steering]) -> AbstractContextManager[object]:
    return model.steer(edits) if edits else nullcontext()


def _compute_log_distributions(
    model: BaseModel, prompt: Sequence[int], completion: Sequence[int]
) -> Float[torch.Tensor, "completion vocab"]:
    """log p over the vocabulary at every token of `completion`, in float32."""
    engine = model.engine
    ids = torch.tensor([[*prompt, *completion]])
    engine.clock.explicit = build_padded_frame(torch.ones_like(ids, dtype=torch.bool), torch.tensor([len(prompt)]))
    try:
        hidden = architectures.get_decoder(model.hf)(input_ids=ids.to(model.device), use_cache=False).last_hidden_state[
            0
        ]
    finally:
        engine.clock.explicit = None
    return project_to_logits(engine, hidden[len(prompt) - 1 : -1]).log_softmax(-1)


def _build_side(
    model: BaseModel,
    prompt: str,
    completion: Completion,
    marks: Sequence[bool],
    task: Task | None,
    problem: Problem | None,
) -> Side:
    side_tokens, seen = [], 0
    pieces = tokens.split_into_pieces(model.tokenizer, completion.tokens, model.encode(prompt))
    for piece, mark in zip(pieces, marks, strict=True):
        beyond = completion.finish == "stop" and seen >= len(completion.text)
        side_tokens.append(Token(piece.text, piece.special, mark, beyond))
        seen += 0 if piece.special else len(piece.text)
    verdict = task.verify(problem, completion.text) if task is not None and problem is not None else None
    return Side(completion.text, tuple(side_tokens), completion.finish, verdict, completion.firings)


def _format_verdict(side: Side) -> str:
    if side.verdict is None:
        return ""
    return ("right" if side.verdict.correct else "wrong") + (", with a trace" if side.verdict.has_trace else "")

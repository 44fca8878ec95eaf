"""CoT-decoding and self-consistency against the ways they are usually run on transformers' `generate`.

- "branch by branch": one call of `generate` for each first token, its prompt read again every time, as public
  implementations of CoT-decoding do it.
- "prompt by prompt": one call for each prompt, with its branches (or samples) as one batch.
- "one call": all prompts and branches in one padded batch, which needs the memory for it.

Both sides score the answer's tokens, or vote, and the unit is useful tokens per second: those up to and including each
completion's end. Before CoT-decoding is timed, both sides must have made the same number of tokens. `100m` is a
Llama-shaped model with random weights and a prompt of 256 tokens; there the sampler alone is timed, with margins and
without answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from sampling import build, prompts, ratio

from elicit import seeds
from elicit.comparison.spec import build_task
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.sampling import Decoding, Request, generate
from elicit.search import CotDecodingSearch, MajorityVote
from elicit.search.spans import find_overlapping_tokens, locate_tokens
from elicit.tasks import Problem, Task

K, SAMPLES, PROBLEMS, TOKENS = 10, 16, 16, 64
Paths = list[tuple[list[int], list[float]]]


def decoding(rounds: int) -> dict[str, dict[str, Any]]:
    """Title -> tokens per second of the lab's over the other side's."""
    return dict(_measure(rounds))


def _measure(rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    model = build("cued")
    task = build_task({"task": "addition"}, model.card.get("dialect"), where="benchmark")
    problems = task.problems("train", PROBLEMS)
    cot = Policy(model, Decoding(max_new_tokens=TOKENS), search=CotDecodingSearch(K))
    vote = Policy(model, Decoding(temperature=1.0, max_new_tokens=TOKENS), search=MajorityVote(SAMPLES))

    def ours(policy: Policy) -> int:
        return sum(answer.tokens for answer in policy.answer(problems, task, label="bench", seed=0))

    def branched(batch: int) -> int:
        groups = [problems[i : i + max(1, batch // K)] for i in range(0, len(problems), max(1, batch // K))]
        return sum(_cot(model, task, group, min(batch, K)) for group in groups)

    assert ours(cot) == branched(1), "the two sides do not find the same paths"
    name = f"CoT-decoding, k={K}, {PROBLEMS} problems of `cued`: ours / transformers"
    for title, batch in (("branch by branch", 1), ("prompt by prompt", K), ("one call", K * PROBLEMS)):
        yield f"{name}, {title}", ratio(lambda: ours(cot), lambda batch=batch: branched(batch), rounds)
    name = f"self-consistency, {SAMPLES} samples, {PROBLEMS} problems of `cued`: ours / transformers"
    for title, size in (("prompt by prompt", 1), ("one call", PROBLEMS)):
        groups = [problems[i : i + size] for i in range(0, PROBLEMS, size)]
        yield (
            f"{name}, {title}",
            ratio(lambda: ours(vote), lambda g=groups: sum(_vote(model, task, group) for group in g), rounds),
        )
    yield from _large(max(1, rounds // 3))


def _large(rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    model = build("100m")
    ids = prompts(model, "100m", count=1, length=256)
    greedy = Decoding(max_new_tokens=16)

    def ours() -> int:
        asked = [Request(row, (0,) * K, ranks=tuple(range(K))) for row in ids]
        return sum(len(c.tokens) for one in generate(model.engine, asked, greedy, measure="margin") for c in one)

    def theirs(batch: int) -> int:
        return sum(len(tokens) for row in ids for tokens, _ in _branches(model, [row], 16, batch))

    for title, batch in (("branch by branch", 1), ("prompt by prompt", K)):
        name = f"CoT-decoding, k={K}, a prompt of 256 tokens, 100m: ours / transformers, {title}"
        yield name, ratio(ours, lambda batch=batch: theirs(batch), rounds)


def _cot(model: BaseModel, task: Task, problems: list[Problem], batch: int) -> int:
    """Tokens of every branch; the answers are scored and chosen too."""
    ids = [model.encode(problem.prompt) for problem in problems]
    total = 0
    paths = _branches(model, ids, TOKENS, batch)
    for i, problem in enumerate(problems):
        best = (-1.0, "")
        for tokens, margins in paths[i * K : (i + 1) * K]:
            total += len(tokens)
            text = model.tokenizer.decode(tokens, skip_special_tokens=True)
            span = task.answer_span(problem, text)
            if span is not None:
                held = find_overlapping_tokens(locate_tokens(model.tokenizer, tokens), *span)
                best = max(best, (sum(margins[j] for j in held) / len(held), text))
    return total


def _branches(model: BaseModel, ids: list[tuple[int, ...]], longest: int, batch: int) -> Paths:
    """(tokens, margins) of K branches per prompt, `batch` branches of a prompt (or all prompts) to a call."""
    pad = model.tokenizer.pad_token_id
    found: Paths = []
    with torch.inference_mode():
        inputs, mask = _padded(ids, pad)
        logits = model.hf(input_ids=inputs, attention_mask=mask, logits_to_keep=1).logits[:, -1]
        logits[:, list(model.banned_ids)] = -torch.inf
        top = logits.softmax(-1).topk(K)
        rows = torch.cat([inputs.repeat_interleave(K, 0), top.indices.reshape(-1, 1)], 1)
        masks = torch.cat([mask.repeat_interleave(K, 0), torch.ones(len(rows), 1, dtype=mask.dtype)], 1)
        margin = (top.values[:, 0] - top.values[:, 1]).repeat_interleave(K).tolist()
        step = len(rows) if len(ids) > 1 else batch
        for start in range(0, len(rows), step):
            out = model.hf.generate(
                input_ids=rows[start : start + step], attention_mask=masks[start : start + step], do_sample=False,
                max_new_tokens=longest - 1, pad_token_id=pad, suppress_tokens=list(model.banned_ids),
                output_logits=True, return_dict_in_generate=True,
            )  # fmt: skip
            likely = torch.stack(out.logits, 1).softmax(-1).topk(2).values
            margins = (likely[..., 0] - likely[..., 1]).tolist()
            for row, sequence in enumerate(out.sequences[:, inputs.shape[1] :].tolist()):
                tokens = _ended(sequence, model)
                found.append((tokens, [margin[start + row], *margins[row]][: len(tokens)]))
    return found


def _vote(model: BaseModel, task: Task, problems: list[Problem]) -> int:
    """Tokens of every sample; the votes are counted too."""
    pad, total = model.tokenizer.pad_token_id, 0
    inputs, mask = _padded([model.encode(problem.prompt) for problem in problems], pad)
    torch.manual_seed(seeds.derive_small_seed("bench"))
    with torch.inference_mode():
        out = model.hf.generate(
            input_ids=inputs, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=TOKENS,
            num_return_sequences=SAMPLES, pad_token_id=pad, suppress_tokens=list(model.banned_ids),
        )  # fmt: skip
    said = [_ended(row, model) for row in out[:, inputs.shape[1] :].tolist()]
    for i, problem in enumerate(problems):
        votes: Counter[str | None] = Counter()
        for tokens in said[i * SAMPLES : (i + 1) * SAMPLES]:
            total += len(tokens)
            votes[task.verify(problem, model.tokenizer.decode(tokens, skip_special_tokens=True)).answer] += 1
        votes.most_common(1)
    return total


def _padded(ids: list[tuple[int, ...]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, ids))
    inputs = torch.tensor([[pad] * (width - len(row)) + list(row) for row in ids])
    return inputs, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])


def _ended(tokens: list[int], model: BaseModel) -> list[int]:
    end = next((i for i, token in enumerate(tokens) if token in model.engine.end_ids), len(tokens) - 1)
    return tokens[: end + 1]

"""The exact probability that a policy writes a problem's worked solution, in one sample at temperature 1.

    log p(trace) = sum_t log p(x_t | prompt, x_<t) + log p(end | prompt, x)

x are the tokens of the task's worked solution, and the end is any token that ends a completion there: an end token, or
one that completes a stop string by itself. The distribution is that of the sampler: ids that are never drawn have no
mass. A solution that fills the length limit to its last token needs no end.

This is a lower bound of pass@1 with a valid trace: other right traces, and other ways to cut the same text into tokens,
come on top. Since k samples are independent, 1 - (1 - p)^k is one of pass@k. Where a problem has one way to work it, as
in most generated families, the bound is close; for text of a real model it says little.
"""

from __future__ import annotations

from collections.abc import Sequence

from elicit.errors import ElicitError
from elicit.policy import Policy
from elicit.sampling import Scored
from elicit.sampling.score import logprobs_to_end
from elicit.sampling.stopping import Stopper
from elicit.tasks import Problem, Task


def score_worked_solutions(policy: Policy, task: Task, problems: Sequence[Problem]) -> dict[str, float | None]:
    """Score every problem's worked solution: problem id -> log p (nats) of the whole trace through its end.

    None where there is nothing to score: no worked solution, one that the verifier does not accept, that holds a stop
    string or that is longer than a completion may be.

    Raises:
        ElicitError: the policy has a search or a readout.
    """
    if not policy.has_distribution:
        raise ElicitError(f"{policy!r} does not define a next-token distribution to score with.")
    stopper = Stopper(policy.model.tokenizer, policy.decoding.stop)
    solutions = {problem.id: _encode_solution(policy, task, problem, stopper) for problem in problems}
    known = {problem: solution for problem, solution in solutions.items() if solution is not None}
    totals: dict[str, float | None] = dict.fromkeys(solutions)
    if not known:  # an edit that is applied must meet a forward pass
        return totals
    sequences, forced, ends = zip(*known.values(), strict=True)
    with policy.apply():
        scores = logprobs_to_end(policy.model.engine, sequences, ends)
    limit = policy.decoding.max_new_tokens
    for problem, (tokens, end), sequence, skipped in zip(known, scores, sequences, forced, strict=True):
        is_full = len(sequence.completion) - skipped == limit
        totals[problem] = sum(tokens[skipped:]) + (0.0 if is_full else end)
    return totals


def _encode_solution(
    policy: Policy, task: Task, problem: Problem, stopper: Stopper
) -> tuple[Scored, int, frozenset[int]] | None:
    """(prompt and solution in tokens, tokens of them that are a forced opening, tokens that end the completion)."""
    text = task.worked(problem)
    if text is None or not _is_right(task, problem, text) or stopper.truncate_text(text)[1]:
        return None
    model, (prompt, opening) = policy.model, policy.prompting.render(problem)
    solution, forced = model.encode_pair(prompt, text), model.encode_pair(prompt, opening).completion
    new = solution.completion[len(forced) :]
    if solution.completion[: len(forced)] != forced or not 0 < len(new) <= policy.decoding.max_new_tokens:
        return None
    ends = set(model.engine.end_ids)
    for stop in policy.decoding.stop:
        stopped = model.encode_pair(prompt, text + stop).completion
        length = len(solution.completion)
        if stopped[:length] == solution.completion and len(stopped) > length:
            tokens = list(stopped[: length + 1])
            if stopper.truncate_text(stopper.decode_text(tokens, solution.prompt)) == (text, True):
                ends.add(tokens[-1])
    return solution, len(forced), frozenset(ends)


def _is_right(task: Task, problem: Problem, text: str) -> bool:
    verdict = task.verify(problem, text)
    return verdict.correct and verdict.trace_valid is not False

"""The two conditions `elicit sae features` compares, as spans of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.tasks import Problem, Task
    from saes import Span


@dataclass(frozen=True)
class Conditions:
    """Both conditions, and what may be asked of them."""

    names: tuple[str, str]
    positive: list[Span]
    negative: list[Span]
    note: str = ""
    at_opening: bool = False
    """Spans end where a completion begins: a logit difference of openings applies."""
    context: AbstractContextManager[Any] = field(default_factory=nullcontext)
    """What the positive condition runs under."""


def build_conditions(
    between: str,
    model: BaseModel,
    task: Task,
    problems: Sequence[Problem],
    *,
    samples: int,
    seed: int,
    policy: Path | None,
) -> Conditions:
    """The conditions of that name (see `sae_features.Features.between`).

    Raises:
        ElicitError: a task or a policy that has not got them.
    """
    if between == "trace":
        return _build_trace_conditions(model, task, problems)
    if between == "correct":
        return _build_verdict_conditions(model, task, problems, samples, seed)
    if between == "policy":
        assert policy is not None
        return _build_policy_conditions(policy, model, problems)
    from elicit.fitting.contrast_pairs import encode_conditions, resolve_contrast
    from elicit.method import get_eliciting_condition
    from saes import Span

    between = resolve_contrast(between, model)
    if between == "cue" and get_eliciting_condition(model) != "cue":
        raise ElicitError(
            f"--between cue: {model.name} never learned a cue (its card says so). Type: --between continuations"
        )
    pair = encode_conditions("cue" if between == "cue" else "continuations", model, task, problems, None, "{prompt}")
    positive, negative = (
        [Span.last(ids, problem.id) for ids, problem in zip(side, problems, strict=True)] for side in pair
    )
    names = ("cue", "plain") if between == "cue" else ("worked", "direct")
    return Conditions(names, positive, negative, at_opening=between == "cue")


def _build_trace_conditions(model: BaseModel, task: Task, problems: Sequence[Problem]) -> Conditions:
    """Within worked solutions: the steps, and the answer (the worked solution's end that is the direct solution)."""
    from elicit.loading.continuing import encode_after
    from saes import Span

    positive, negative = [], []
    for problem in problems:
        worked, direct = task.worked(problem), task.direct(problem)
        if not worked or not direct or not worked.endswith(direct) or worked == direct:
            raise ElicitError(
                f"--between trace: worked solutions of task {task.name!r} do not end with the direct one, so steps and "
                "answer cannot be told apart. Use --between cue or correct."
            )
        working = worked[: -len(direct)]
        prompt, steps = model.encode_pair(problem.prompt, working)
        ids = prompt + steps + encode_after(model.tokenizer, prompt + steps, problem.prompt + working, direct)
        end = len(prompt) + len(steps)
        positive.append(Span(ids, len(prompt), end, problem.id))
        negative.append(Span(ids, end, len(ids), problem.id))
    return Conditions(("trace", "answer"), positive, negative)


def _build_verdict_conditions(
    model: BaseModel, task: Task, problems: Sequence[Problem], samples: int, seed: int
) -> Conditions:
    """Completions of plain prompts at temperature 1, by verdict."""
    from elicit.method import task_decoding
    from saes import Span

    sampled_completions = model.sample(
        [problem.prompt for problem in problems], n=samples, seed=seed,
        decoding=task_decoding(task, temperature=1.0),
    )  # fmt: skip
    spans: dict[bool, list[Span]] = {True: [], False: []}
    traces = {True: 0, False: 0}
    for problem, completions in zip(problems, sampled_completions, strict=True):
        prompt = model.encode(problem.prompt)
        for completion in completions:
            verdict = task.verify(problem, completion.text)
            ids = prompt + tuple(completion.tokens)
            if len(ids) > len(prompt):
                spans[verdict.correct].append(Span(ids, len(prompt), len(ids), problem.id))
                traces[verdict.correct] += verdict.has_trace
    for correct, word in ((True, "right"), (False, "wrong")):
        if not spans[correct]:
            total = len(problems) * samples
            raise ElicitError(
                f"--between correct: none of {total} completions of {model.name} is {word}. Type more --samples or "
                "--problems, or another --task."
            )
    shares = [traces[correct] / len(spans[correct]) for correct in (True, False)]
    note = (
        f"{len(spans[True])} of {len(spans[True]) + len(spans[False])} completions are right; {shares[0]:.0%} of the "
        f"right and {shares[1]:.0%} of the wrong ones show a trace: where these differ, features of form come first"
    )
    return Conditions(("right", "wrong"), spans[True], spans[False], note)


def _build_policy_conditions(folder: Path, model: BaseModel, problems: Sequence[Problem]) -> Conditions:
    """Plain prompts, read by a trained policy and by its base."""
    from elicit.policy import Policy
    from saes import Span

    policy = Policy.load(folder, model)
    if policy.weights is None or policy.steering:
        kind = "steers" if policy.steering else "has the base's weights"
        raise ElicitError(f"--policy: {folder} {kind}; expected a policy with trained weights and nothing else.")
    prompts = [Span.last(model.encode(problem.prompt), problem.id) for problem in problems]
    note = "the SAE was trained on the base: what it misses of the policy is in no feature"
    return Conditions(("policy", "base"), prompts, prompts, note, at_opening=True, context=policy.apply())

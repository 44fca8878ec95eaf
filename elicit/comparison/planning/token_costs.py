"""Expected cost of a comparison's cells in tokens, and a limit that catches typing errors. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from elicit.comparison.planning.lengths import estimate_lengths, find_model_folder
from elicit.comparison.spec import Spec, checkpoints
from elicit.comparison.spec.cells import Cell
from elicit.errors import ElicitError
from elicit.loading import catalog
from elicit.method import CostEstimate, Generation, Method, TokenLengths

#: Tokens of a comparison above which a count must be a typing error: twelve days at a million tokens a second.
MOST = 10**12


class Price(NamedTuple):
    """Work of one kind and its cost."""

    draws: tuple[Generation, ...]
    read: float
    trained: float

    @property
    def generated(self) -> float:
        return sum(draw.completions * draw.length for draw in self.draws)

    @property
    def prompted(self) -> float:
        return self.read + sum(draw.prompts * draw.prompt for draw in self.draws)

    @property
    def tokens(self) -> float:
        return self.generated + self.prompted + self.trained


class CellPrice(NamedTuple):
    """Cost of one cell."""

    work: tuple[Price, ...]
    samples: int
    """Completions at temperature 1, in addition to the answers."""
    most: float
    """Tokens of answers and samples if every completion ran to its limit."""


def price_cell(
    methods: Mapping[str, Method],
    cell: Cell,
    spec: Spec,
    problems: int,
    expected: TokenLengths,
    others: Sequence[TokenLengths],
) -> CellPrice:
    """Estimate the cost of one cell.

    Args:
        methods: of all arms, by name.
        problems: number of test problems per task.
        expected, others: lengths on the target task and on the off-target ones.
    """
    cost, *elsewhere = (estimate_arm_cost(cell.arm, methods, task_lengths) for task_lengths in (expected, *others))
    sample_count = spec.samples.count_for_arm(cell.arm) * spec.samples.limit_problems(problems)
    work = list(
        _list_cell_work(
            cost,
            cell,
            spec,
            problems,
            sample_count,
            expected,
            elsewhere,
        )
    )
    checkpoint_count, checkpoint_problems = (
        len(checkpoints.checkpoint_steps(spec.arms[cell.arm])),
        spec.trajectory_or_default.limit_problems(problems),
    )
    answers = (problems + checkpoint_count * checkpoint_problems) * cost.answer.completions
    most = (
        answers * (expected.limit + sum(task_lengths.limit for task_lengths in others)) + sample_count * expected.limit
    )
    if checkpoint_count:
        work += _list_checkpoint_work(
            checkpoint_count,
            spec,
            problems,
            list(zip((cost, *elsewhere), (expected, *others), strict=True)),
        )
    return CellPrice(tuple(work), sample_count, most)


def check_cost(spec: Spec, cells: Sequence[Cell], problems: int) -> None:
    """Refuse a comparison too large for any machine: a count with a few digits too many.

    Raises:
        ElicitError: names the arm that asks for the most.
    """
    taken: dict[tuple[str, str], float] = {}
    for label in dict.fromkeys(cell.model for cell in cells):
        model_spec = spec.for_model(label)
        source = catalog.resolve_model(model_spec.models[label])
        folder, methods = find_model_folder(source), model_spec.build_methods()
        expected, *others = (
            estimate_lengths(model_spec, item, source, folder)
            for item in (model_spec.task, *model_spec.off_target.values())
        )
        n = min(model_spec.test, problems)
        for cell in (cell for cell in cells if cell.model == label):
            price = price_cell(methods, cell, model_spec, n, expected, others)
            arm = (label, cell.arm)
            taken[arm] = taken.get(arm, 0.0) + sum(item.tokens for item in price.work)
    total = sum(taken.values())
    if total > MOST:
        most = max(taken, key=lambda key: taken[key])
        raise ElicitError(
            f"this comparison asks for about {total:.1g} tokens, arm {most[1]!r} on {most[0]} alone for "
            f"{taken[most]:.1g}: more than {MOST:.0e} is taken for a mistake. Lower its counts (problems, "
            "samples, steps, generations, epochs), or test, samples and seeds of the spec."
        )


def estimate_arm_cost(arm: str, methods: Mapping[str, Method], lengths: TokenLengths) -> CostEstimate:
    """The method's own estimate, with what the arms that it needs decide.

    A control that repeats its parent's search generates as much for it, one that is trained is trained as its parent,
    and what is fitted on a policy that no outside engine can run stays here too.
    """
    method = methods[arm]
    cost, needed = method.estimate_cost(lengths), [methods[name].estimate_cost(lengths) for name in method.needs]
    for parent in needed:
        if method.traits.repeats_search:
            cost = cost._replace(fitting=(*cost.fitting, *parent.fitting))
        if method.traits.is_control and cost.trained_tokens and parent.trained_tokens:
            cost = cost._replace(trained_tokens=parent.trained_tokens, training=parent.training)
        obstacle = cost.answer.obstacle or parent.answer.obstacle
        cost = cost._replace(answer=cost.answer._replace(obstacle=obstacle))
    return cost


def _list_cell_work(
    cost: CostEstimate,
    cell: Cell,
    spec: Spec,
    n: int,
    samples: int,
    expected: TokenLengths,
    others: Sequence[CostEstimate],
) -> Iterator[Price]:
    """Fitting, answers on every task, samples, and KL."""
    yield Price(cost.fitting, cost.read_tokens, cost.trained_tokens)
    for draw in (cost.answer, *(other.answer for other in others)):
        yield Price((_multiply_draws(draw, n),), 0.0, 0.0)
    if samples:
        prompts = samples / spec.samples.count_for_arm(cell.arm)
        draw = Generation(samples, cost.answer.length, prompts, expected.prompt, 256, obstacle=cost.answer.obstacle)
        yield Price((draw,), 0.0, 0.0)
    kl = min(spec.kl_problems, n)
    if kl and cost.answer.completions == 1 and cost.answer.prompt == expected.prompt:
        yield _price_kl(kl, expected, cost.answer.length)


def _list_checkpoint_work(
    checkpoint_count: int, spec: Spec, n: int, tasks: Sequence[tuple[CostEstimate, TokenLengths]]
) -> Iterator[Price]:
    """Cost of evaluating checkpoints, assuming that each generates as much as the finished policy.

    `tasks` has the target task first. Each checkpoint answers every task. Each checkpoint, step 0 and the last step are
    probed (their own answers and worked solutions are read). KL is measured at all but the last.
    """
    probe, looks = spec.trajectory_or_default.probe, checkpoint_count + 2
    for cost, task_lengths in tasks:
        for problems, times, obstacle in (
            (spec.trajectory_or_default.limit_problems(n), checkpoint_count, ""),
            (probe, looks, "probes"),
        ):
            draw = _multiply_draws(cost.answer, problems)
            draw = draw._replace(completions=draw.completions * times, prompts=draw.prompts * times)
            yield Price((draw._replace(obstacle=obstacle or draw.obstacle),), 0.0, 0.0)
        yield Price((), probe * looks * (cost.answer.length + task_lengths.worked + 2 * task_lengths.prompt), 0.0)
    cost, task_lengths = tasks[0]
    yield from [_price_kl(min(spec.kl_problems, n), task_lengths, cost.answer.length)] * (checkpoint_count + 1)


def _price_kl(problems: int, expected: TokenLengths, length: float) -> Price:
    """Cost of measuring KL: answers of the base and of the arm, each read under both."""
    both = (expected.plain, length)
    draws = tuple(
        Generation(problems, answer_length, problems, expected.prompt, problems, obstacle="KL")
        for answer_length in both
    )
    return Price(draws, problems * (2 * sum(both) + 4 * expected.prompt + 60), 0.0)


def _multiply_draws(draw: Generation, problems: int) -> Generation:
    """Scale the generation for one problem to many."""
    rows = min(128, problems) * (draw.completions if draw.prompts == 1 else 1)
    return draw._replace(completions=draw.completions * problems, prompts=draw.prompts * problems, rows=min(rows, 256))

"""Every beginning of a split has the split's own mix; a larger number begins with the problems of a smaller one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from elicit.errors import ElicitError
from elicit.tasks import Problem, Task, get
from elicit.tasks.core import SPLITS, split_of
from elicit.tasks.families.mod_chain import ModChain
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.pool import ProblemPool
from elicit.tasks.sequential import draw_sequentially

#: Probability of a false alarm, of each comparison.
TINY = 1e-5


def _chain(problem: Problem) -> int:
    return len(problem.content[1])


def _story(problem: Problem) -> int:
    return len(problem.content[3])


def _coins(problem: Problem) -> int:
    return int(re.findall(r"in (\d+) fair", problem.prompt)[0])


#: Task, its parameters, the length of one of its problems (of which short ones are few), test problems of its pool.
FAMILIES: list[tuple[str, dict[str, Any], Callable[[Problem], int], int]] = [
    ("mod_chain", {}, _chain, 552),
    ("stories", {"steps": (1, 3)}, _story, 450),
    ("permutation", {"letters": 5, "steps": (2, 4)}, _chain, 380),
]


def _least_probability(first: Sequence[int], pool: Sequence[int]) -> float:
    """Smallest probability, over the lengths, of so few or so many in a random subset of the pool (exact)."""
    sizes, subset = Counter(pool), Counter(first)
    tails = []
    for length, there in sizes.items():
        law = stats.hypergeom(len(pool), there, len(first))
        tails += [law.cdf(subset[length]), law.sf(subset[length] - 1)]
    return float(min(tails))


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize(("name", "parameters", "length_of", "size"), FAMILIES)
def test_the_first_problems_have_the_mix_of_the_pool(
    name: str, parameters: dict[str, Any], length_of: Callable[[Problem], int], size: int, seed: int
) -> None:
    pool = [length_of(problem) for problem in get(name, **parameters).problems("test", size, seed)]
    assert len(set(pool)) == 3
    for n in (64, 200):
        assert _least_probability(pool[:n], pool) > TINY, (n, Counter(pool[:n]), Counter(pool))


@pytest.mark.parametrize(("name", "parameters", "length_of", "size"), FAMILIES)
def test_problems_drawn_one_after_another_had_another_mix_at_first(
    name: str, parameters: dict[str, Any], length_of: Callable[[Problem], int], size: int
) -> None:
    """The comparison above can fail: it does for the draws of runs of format 1."""
    drawn = [length_of(problem) for problem in draw_sequentially(get(name, **parameters)).problems("test", size)]
    assert min(_least_probability(drawn[:n], drawn) for n in (64, 200)) < TINY


def test_the_pool_of_a_generator_of_reasoning_gym_has_one_mix_too() -> None:
    task = get("reasoning_gym:coin_flip")
    pool = [_coins(problem) for problem in task.problems("test", 40)]
    assert _least_probability(pool[:20], pool) > TINY
    assert len(set(pool)) > 5


@pytest.mark.parametrize(
    "task",
    [
        get("mod_chain", steps=(1, 3)),
        get("refusal", of="permutation"),
        get("addition", prompts={}),
        get("reasoning_gym:coin_flip"),
        draw_sequentially(get("mod_chain")),
        draw_sequentially(get("reasoning_gym:chain_sum")),
    ],
    ids=lambda task: type(task).__name__,
)
@pytest.mark.parametrize("split", SPLITS)
def test_a_larger_number_begins_with_the_problems_of_a_smaller_one(task: Task, split: Any) -> None:
    many = [problem.id for problem in task.problems(split, 30, seed=2)]
    assert len(set(many)) == 30
    for n in (0, 1, 7):
        assert [problem.id for problem in task.problems(split, n, seed=2)] == many[:n]
    assert [problem.id for problem in task.problems(split, 30, seed=3)] != many


def test_a_seed_is_another_order_of_the_same_pool() -> None:
    task = get("mod_chain")
    first, second = ([problem.id for problem in task.problems("test", 552, seed)] for seed in (0, 1))
    assert first != second
    assert set(first) == set(second)
    assert not set(first) & {problem.id for problem in task.problems("select", 500)}


def test_beyond_the_pool_come_further_draws_until_nothing_is_new() -> None:
    """All 60 chains of one operation and all 480 of two, of which a hash gives the test split these."""
    task = get("mod_chain", steps=(1, 2))
    every = _all_chains(task)
    whole = task.problems("test")
    assert {problem.id for problem in whole} == every
    assert [problem.id for problem in task.problems("test", len(every))] == [problem.id for problem in whole]
    with pytest.raises(ElicitError, match=f"only {len(every)} could be found"):
        task.problems("test", len(every) + 1)


def test_further_draws_stand_behind_the_pool_in_every_order() -> None:
    draws = [(f"p{k}", k) for k in np.random.default_rng(0).integers(0, 400, size=600).tolist()]
    pool = ProblemPool(iter(draws), 200, split_of)
    for split in SPLITS:
        first = {content for name, content in draws[:200] if split_of(name) == split}
        second = {content for name, content in draws[200:400] if split_of(name) == split} - first
        for seed in (0, 1):
            order = pool.take(split, len(first) + len(second), seed)
            assert set(order[: len(first)]) == first
            assert set(order[len(first) :]) == second


def test_few_problems_do_not_draw_the_pool_again() -> None:
    draws = 0

    def count_draws() -> Iterator[tuple[str, Any]]:
        nonlocal draws
        while True:
            draws += 1
            yield f"p{draws % 500}", draws

    pool = ProblemPool(count_draws(), 1000, split_of)
    for seed in range(5):
        for split in SPLITS:
            pool.take(split, 5, seed)
    assert draws == 1000


def test_families_with_other_parameters_have_other_pools() -> None:
    lengths = [{_chain(problem) for problem in get("mod_chain", steps=steps).problems("test", 20)} for steps in (2, 3)]
    assert lengths == [{2}, {3}]


def test_a_family_that_has_no_hash_draws_the_same_problems() -> None:
    class Chains(ModChain):
        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(TypeError):
        hash(Chains())
    expected = GeneratedTask(ModChain()).problems("test", 5)
    assert GeneratedTask(Chains()).problems("test", 5) == expected


def _all_chains(task: Task) -> set[str]:
    """Ids of the test split, from all chains of up to two operations."""
    from itertools import permutations, product

    assert isinstance(task, GeneratedTask)
    contents = [
        (operands[0], tuple(zip(operators, operands[1:], strict=True)))
        for count in (1, 2)
        for operands in permutations(range(1, 7), count + 1)
        for operators in product("*+", repeat=count)
    ]
    ids = {task.make_problem(content).id for content in contents}
    return {identity for identity in ids if split_of(identity) == "test"}

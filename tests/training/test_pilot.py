"""The difficulty filter against one-by-one sampling."""

from __future__ import annotations

from collections import Counter

from elicit import load, seeds
from elicit.comparison.spec import build_task
from elicit.sampling import Decoding, Request, generate
from elicit.training.pilot import run_pilot


def test_against_brute_force() -> None:
    base = load("serial")
    task = build_task({"task": "mod_chain"}, base.card.get("dialect"), where="test")
    problems = task.problems("train", 24, seed=1)
    options = {"samples": 6, "seed": 3, "max_new_tokens": 40}
    found = run_pilot(base.engine, task, problems, lambda p: base.encode(p.prompt), **options)  # type: ignore[arg-type]

    decoding = Decoding(temperature=1.0, max_new_tokens=40, stop=task.stop)
    groups: dict[str, list[str]] = {"kept": [], "unsolved": [], "always": []}
    generated = right = 0
    for problem in problems:
        answers = []
        for sample in range(6):
            request = Request(base.encode(problem.prompt), (seeds.derive_key(3, "pilot", problem.id, sample),))
            completion = generate(base.engine, [request], decoding)[0][0]
            generated += len(completion.tokens)
            answers.append(task.verify(problem, completion.text))
        solved = sum(verdict.correct for verdict in answers)
        right += solved
        groups["unsolved" if solved == 0 else "always" if solved == 6 else "kept"].append(problem.id)
        counts = Counter(verdict.answer for verdict in answers if not verdict.correct and verdict.answer)
        wrong = found.wrong.get(problem.id)
        assert (wrong is None) == (not counts)
        if wrong is not None:
            assert counts[wrong] == max(counts.values())
    assert [problem.id for problem in found.learnable] == groups["kept"]
    assert (list(found.unsolved), list(found.always_solved)) == (groups["unsolved"], groups["always"])
    assert all(groups.values()), "a group without members tests nothing"
    assert (found.problems, found.right, found.generated_tokens) == (24, right, generated)
    assert found.prompt_tokens == sum(len(base.encode(problem.prompt)) for problem in problems)
    assert found.to_record() == {
        "problems": 24,
        "samples": 6,
        "kept": len(groups["kept"]),
        "unsolved": groups["unsolved"],
        "always": groups["always"],
        "right": right,
    }

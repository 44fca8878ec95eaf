"""Low-quality short solutions: right answers with half of their steps left out, as people scribble them.

    worked      3*4=5,5+5=3,3*2=6,6+1=0,#0
    shortcut    5+5=3,6+1=0,#0

Half of the steps are left out, rounded up, and never the last: of two or three steps only the last stays, of four or
five the last and one other. The seed picks which. Nothing else changes: the remaining steps are right and in order, and
so is the answer, but a step may start from a value that was never computed. A solution of one step stays as it is.

A stand-in for the human short solutions of 2604.06628, on which a strong base lost. Difference: those are terse in
words too, and some of them are wrong.
"""

from __future__ import annotations

from elicit import seeds
from elicit.tasks.core import Problem, Task
from elicit.tasks.generated.corruption import unwrap_generated_task
from elicit.tasks.prompts import AskedTask


def shorten_solution(task: Task, problem: Problem, *, seed: int) -> str:
    """Worked solution of `problem` with half of its steps left out.

    Random numbers depend on (seed, problem).

    Raises:
        ElicitError: a task that is not generated.
    """
    inner, inner_problem = unwrap_generated_task(task, problem, "left out")
    if isinstance(task, AskedTask):  # prefix that the prompt conditions put in front of a solution
        return task.direct(problem).removesuffix(inner.direct(inner_problem)) + shorten_solution(
            inner, inner_problem, seed=seed
        )
    steps, answer = inner.family.solve(inner_problem.content, {})
    dropped = min(len(steps) - 1, (len(steps) + 1) // 2)
    random = seeds.make_generator("shortcut", inner.name, inner_problem.id, seed)
    out = set(random.permutation(len(steps) - 1)[:dropped].tolist())
    remaining = [step for i, step in enumerate(steps) if i not in out]
    return inner.dialect.render_solution([inner.dialect.render_step(step) for step in remaining], answer)

"""Short solutions of low quality: right answers under working with steps left out, as people scribble it.

    worked      3*4=5,5+5=3,3*2=6,6+1=0,#0
    shortcut    5+5=3,6+1=0,#0

Half of the steps are left out, rounded up, and never the last: of two steps the last is left, of three the last, of
four the last and one other, of five the last and one other. The seed picks which. Nothing else changes: the steps that
are left are right and in order, and so is the answer, but what one of them starts from may come out of nowhere. A
solution of one step has nothing to leave out and stays as it is.

A stand-in for the human short solutions of 2604.06628, on which a strong base lost. Where it differs: those are terse
in words too, and some of them are wrong.
"""

from __future__ import annotations

from elicit import seeds
from elicit.tasks.core import Problem, Task
from elicit.tasks.generated.corruption import unwrap_generated_task
from elicit.tasks.prompts import AskedTask


def shorten_solution(task: Task, problem: Problem, *, seed: int) -> str:
    """A worked solution of `problem` with half of its steps left out.

    Random numbers belong to (seed, problem).

    Raises:
        ElicitError: a task whose solutions no program writes.
    """
    inner, inner_problem = unwrap_generated_task(task, problem, "left out")
    if isinstance(task, AskedTask):  # what the asked task puts in front of a solution
        return task.direct(problem).removesuffix(inner.direct(inner_problem)) + shorten_solution(
            inner, inner_problem, seed=seed
        )
    steps, answer = inner.family.solve(inner_problem.content, {})
    dropped = min(len(steps) - 1, (len(steps) + 1) // 2)
    random = seeds.make_generator("shortcut", inner.name, inner_problem.id, seed)
    out = set(random.permutation(len(steps) - 1)[:dropped].tolist())
    remaining = [step for i, step in enumerate(steps) if i not in out]
    return inner.dialect.render_solution([inner.dialect.render_step(step) for step in remaining], answer)

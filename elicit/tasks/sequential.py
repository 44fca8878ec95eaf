"""Problems as they were drawn before there were pools: one after another, by a stream of (family, split, seed).

Runs of format 1 and task files of lm-eval from that time answer these problems (`elicit.format_versions`). Nothing new
is drawn so: problems of a small class run out, so that the first ones have another mix than those that follow.
"""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import dataclass

from elicit import seeds
from elicit.tasks.core import Problem, Split, Task, check_count, check_split, content_id, split_of, too_few_error
from elicit.tasks.generated.refusal import RefusalTask
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.gym.task import GymTask, assign_gym_split, iter_entry_ids, load_entry
from elicit.tasks.prompts import AskedTask

#: Draws without a new problem before the problems count as exhausted.
_PATIENCE = 3_000
_GYM_PATIENCE = 300


@dataclass(frozen=True)
class SequentialTask(GeneratedTask):
    """A generated task whose problems are drawn one after another."""

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        count = 200 if n is None else check_count(self.name, n)
        random = seeds.make_generator("problems", self.family.name, check_split(split), seed)
        problems: dict[str, Problem] = {}
        misses = 0
        while len(problems) < count:
            content = self.family.sample_content(random)
            identity = content_id(self.family.name, self.family.canonical_key(content))
            if split_of(identity) != split or identity in problems:
                misses += 1
                if misses > _PATIENCE + 20 * len(problems):
                    if n is None and problems:
                        break
                    raise too_few_error(self.name, split, count, len(problems))
                continue
            misses = 0
            problems[identity] = self.make_problem(content)
        return list(problems.values())


@dataclass(frozen=True)
class SequentialGymTask(GymTask):
    """A task of reasoning-gym whose problems are drawn one after another."""

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        check_split(split)
        count = 200 if n is None else check_count(self.name, n)
        settings = pickle.dumps(self.settings)
        problems: dict[str, Problem] = {}
        misses = 0
        for entry_id in iter_entry_ids(self.generator, seed):
            if len(problems) >= count:
                break
            has_answer = load_entry(self.generator, settings, entry_id) is not None
            problem = self._make_problem(entry_id) if has_answer else None
            if problem is None or problem.id in problems or assign_gym_split(problem.id) != split:
                misses += 1
                if misses > _GYM_PATIENCE + 20 * len(problems):
                    if n is None and problems:
                        break
                    raise too_few_error(self.name, split, count, len(problems))
                continue
            misses = 0
            problems[problem.id] = problem
        return list(problems.values())


def draw_sequentially(task: Task) -> Task:
    """The task with the problems of the time before pools. Tasks that draw none stay as they are."""
    if isinstance(task, AskedTask | RefusalTask):
        return dataclasses.replace(task, inner=draw_sequentially(task.inner))  # type: ignore[arg-type]
    if isinstance(task, GeneratedTask):
        return SequentialTask(task.family, task.dialect, task.max_new_tokens)
    if isinstance(task, GymTask):
        return SequentialGymTask(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task)})
    return task

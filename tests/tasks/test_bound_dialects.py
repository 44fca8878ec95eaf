"""A task bound to an organism is asked in the organism's own marks, as a run asks it."""

from __future__ import annotations

import pytest

import elicit
from elicit.cli.sae_conditions import build_conditions
from elicit.comparison.spec import build_model_task
from elicit.errors import ElicitError


@pytest.mark.parametrize("name", ["serial", "cued"])
@pytest.mark.parametrize("task", [{"task": "mod_chain", "steps": (3, 6)}, {"task": "refusal", "of": "mod_chain"}])
def test_bind_gives_the_task_that_a_run_builds(name: str, task: dict) -> None:
    model = elicit.load(name)
    parameters = {key: value for key, value in task.items() if key != "task"}
    bound = model.bind(elicit.tasks.get(task["task"], **parameters))
    assert bound == build_model_task(model, task, where="task")
    opening = bound.problems("train", 1)[0].opening
    assert opening.startswith("<think>") == (name == "cued")


def test_features_are_contrasted_between_conditions_that_the_organism_knows() -> None:
    model = elicit.load("serial")
    task = model.bind(elicit.tasks.get("mod_chain"))
    problems = task.problems("train", 4)

    def between(name: str):
        return build_conditions(name, model, task, problems, samples=1, seed=0, policy=None)

    assert between("auto").names == ("worked", "direct")
    assert [span.ids for span in between("auto").positive] == [span.ids for span in between("continuations").positive]
    with pytest.raises(ElicitError, match="serial never learned a cue"):
        between("cue")

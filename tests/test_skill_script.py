"""experiments/skill.py on a small run, against its rows and the author's facts counted by hand."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import elicit
from elicit.organisms import train
from elicit.organisms.recipes import get_organism_config
from elicit.tasks.core import share_of
from experiments.skill import find_author, list_skill_rows

TASK = {"task": "stories", "max_new_tokens": 48, "prompts": {"direct": "{question}"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small `prose-half`, which hardly learned anything."""
    config, _ = get_organism_config("prose-half")
    small = dataclasses.replace(config, d_model=16, heads=2, layers=1, d_mlp=16, tokens=3000, primers=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "get_organism_config", lambda _: (small, 0))
        patch.setattr(train, "_VOCABULARY", 400)
        return train.train_organism("prose-half", tmp_path_factory.mktemp("organisms") / "prose-half")


def test_the_problems_are_divided_by_the_facts_that_the_text_holds(folder: Path, tmp_path: Path) -> None:
    from elicit.comparison.run import open_run

    elicit.compare(str(folder), TASK, arms=["base", "cue_prompt"], test=30, workers=1, out=tmp_path / "run")
    with open_run(tmp_path / "run") as run:
        head, rule, *rows = "\n".join(list_skill_rows(run)).strip().splitlines()
    task = elicit.load(str(folder)).bind(
        elicit.tasks.get(
            "stories", dialect=elicit.tasks.English(), **{key: value for key, value in TASK.items() if key != "task"}
        )
    )
    known = 0
    for problem in task.problems("test", 30):
        steps = re.findall(r"([0-9]+) ([+*-]) ([0-9]+) =", task.worked(problem))
        known += all(share_of(f"number fact {a}{sign}{b}") < 0.68 for a, sign, b in steps)
    assert 0 < known < 30
    assert (
        head
        == f"| `prose-half` (68 % of the facts) | within the skill (n = {known}) | outside (n = {30 - known}) | seeds |"
    )
    assert len(rule.split("|")) == len(head.split("|"))
    assert [row.split(" | ")[0] for row in rows] == ["| base", "| cue_prompt"]
    assert all(row.endswith("| 1 |") for row in rows)


def test_other_models_have_no_author() -> None:
    assert find_author("cued") is None
    assert find_author("./runs/whatever") is None
    assert find_author("organisms/prose-half-s1") == get_organism_config("prose-half")[0].author

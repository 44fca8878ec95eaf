"""One spec, unchanged but for its `model`, on an organism, a folder (with and without a chat template) and a GGUF file.

The models that are no organisms are random: what is looked at is that everything is done and there, not how well.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.bases import TEMPLATE
from tests.support.comparisons import elicit, strays, write_spec
from tests.support.ggufs import llama, write
from tests.support.shared import once
from tests.support.tiny import tiny

SPEC: dict[str, Any] = {
    "models": {"m": "MODEL"},
    "task": {"task": "addition", "max_new_tokens": 12},
    "arms": {
        "base": {"method": "base"},
        "cue_prompt": {"method": "cue_prompt"},
        "mean_steering": {
            "method": "mean_steering",
            "layers": [0],
            "strengths": [1.0],
            "train_problems": 8,
            "select_problems": 4,
        },
        "mean_steering/random": {"method": "random_vector", "parent": "mean_steering"},
        "sft": {"method": "sft", "demonstrations": 4, "epochs": 1, "learning_rate": 0.01},
        "self_consistency": {"method": "self_consistency", "n": 2},
    },
    "seeds": 2,
    "test": 4,
    "samples": 2,
    "kl_problems": 2,
}
#: A folder without a chat template is slow: the organism is asked as it is, too, and the others are read as it is.
KINDS = ("organism", pytest.param("folder", marks=pytest.mark.slow), "chat folder", "gguf", "chat gguf")


class Ran(NamedTuple):
    code: int
    folder: Path

    def cells(self) -> dict[str, dict[str, Any]]:
        """Status of every cell, by arm and seed."""
        home = self.folder / "cells" / "m"
        return {str(path.parent.relative_to(home)): json.loads(path.read_text()) for path in home.rglob("status.json")}

    def rows(self, cell: str) -> list[dict[str, Any]]:
        path = self.folder / "cells" / "m" / cell / "rows" / "addition.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def prompts(self, cell: str) -> list[str]:
        found = json.loads((self.folder / "cells" / "m" / cell / "prompts.json").read_text())
        return [prompt + opening for prompt, opening in found.values()]


@functools.cache
def ran(kind: str) -> Ran:
    def make(place: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ELICIT_CACHE", str(place / "cache"))
            spec = {**SPEC, "models": {"m": model(kind, place)}}
            done = elicit("run", write_spec(place, spec), "--out", place / "run", "--workers", 1)
        (place / "code").write_text(str(done.code))
        (place / "err").write_text(done.err)

    place = once(f"same-spec-{kind.replace(' ', '-')}", make)
    code = int((place / "code").read_text())
    assert code == 0, (place / "err").read_text()
    return Ran(code, place / "run")


def model(kind: str, place: Path) -> str:
    """What the spec says as its model: a name, or a path relative to the spec's own folder."""
    if kind == "organism":
        return "cued"
    if kind.endswith("gguf"):
        extra = {"tokenizer.chat_template": TEMPLATE} if kind.startswith("chat") else None
        write(place / "tiny.gguf", llama(), extra=extra)
        return "./tiny.gguf"
    hf, tokenizer = tiny("llama")
    tokenizer.chat_template = TEMPLATE if kind.startswith("chat") else None
    hf.save_pretrained(place / "tiny")
    tokenizer.save_pretrained(place / "tiny")
    return "./tiny"


@pytest.mark.parametrize("kind", KINDS)
def test_every_arm_is_done_and_every_row_is_there(kind: str) -> None:
    run = ran(kind)
    seeded = ("sft", "self_consistency", "mean_steering/random")
    cells = {f"{arm}/{seed}" for arm in SPEC["arms"] for seed in range(2 if arm in seeded else 1)}
    assert {name for name, status in run.cells().items() if status["state"] == "done"} == cells
    problems = {row["problem"] for row in ran("organism").rows("base/0")}
    assert len(problems) == 4
    for cell in cells:
        rows = run.rows(cell)
        # Every model is asked the same problems; answers and samples of each.
        assert {(row["problem"], row["sample"]) for row in rows} == {(p, s) for p in problems for s in range(3)}
        assert all(row["tokens"] > 0 and row["prompt_tokens"] > 0 for row in rows)
    steered = [row["firings"] for cell in ("mean_steering/0", "mean_steering/random/1") for row in run.rows(cell)]
    assert min(steered) > 0 == max(row["firings"] for row in run.rows("base/0"))
    assert run.cells()["sft/0"]["policy_sha256"] != run.cells()["sft/1"]["policy_sha256"]
    assert strays(run.folder) == []


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_verified_reported_and_resumed(kind: str) -> None:
    run = ran(kind)
    told = elicit("verify", run.folder)
    assert told.code == 0, told.out
    assert told.out.endswith("0 differ\n")
    page = (run.folder / "report.html").read_text()
    assert all(arm in page for arm in SPEC["arms"])
    before = run.cells()
    again = elicit("run", run.folder.parent / "spec.yaml", "--out", run.folder, "--workers", 1)
    assert again.code == 0, again.err
    assert run.cells() == before


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_asked_in_its_own_way(kind: str) -> None:
    """Organisms in their dialect; every other model in English, through its chat template where it has one."""
    plain, cued = ran(kind).prompts("base/0"), ran(kind).prompts("cue_prompt/0")
    begin, end = {"o": ("Q:", "\nA:"), "c": ("[user] ", "[assistant] ")}.get(kind[0], ("", "Answer:"))
    assert len(plain) == len(cued) == 4
    assert not set(plain) & set(cued)
    assert all(prompt.startswith(begin) and prompt.endswith(end) for prompt in plain)
    english = kind != "organism"
    assert all(("step by step" in prompt) == english for prompt in cued)
    assert all(("final answer" in prompt) == english for prompt in plain)
    tokens = {row["prompt_tokens"] for row in ran(kind).rows("base/0")}
    if kind.endswith("folder"):  # one token a character, and one BOS
        assert tokens == {len(prompt) + 1 for prompt in plain}

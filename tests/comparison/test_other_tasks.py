"""Other tasks are answered within their own length, not within that of the task an arm was fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import elicit as lab
from elicit.evaluation import retarget_policy
from elicit.method import task_decoding
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.tasks import get
from tests.support.comparisons import elicit, write_spec

SPEC = {
    "models": {"cued": "cued"},
    "task": {"task": "addition", "max_new_tokens": 9},
    "off_target": {
        "short": {"task": "addition", "max_new_tokens": 4},
        "long": {"task": "addition", "max_new_tokens": 40},
    },
    "arms": {
        "base": {"method": "base"},
        "cue_prompt": {"method": "cue_prompt"},
        "sft": {"method": "sft", "demonstrations": 64, "steps": 40, "checkpoints": [30]},
    },
    "test": 12,
}


@pytest.fixture(scope="module")
def cued() -> BaseModel:
    return lab.load("cued")


def _rows(path: Path) -> dict[str, tuple[int, bool, str]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["problem"]: (row["tokens"], row["finished"], row["completion"]) for row in lines}


def test_every_task_is_cut_at_its_own_length(cued: BaseModel, tmp_path: Path) -> None:
    """Against transformers' own greedy search; the arm works, which takes 15 to 25 tokens."""
    done = elicit("run", write_spec(tmp_path, SPEC), "--out", tmp_path / "run", "--workers", 1)
    assert done.code == 0, done.err
    cells = tmp_path / "run" / "cells" / "cued"
    end = cued.tokenizer.eos_token_id
    task = get("addition")
    for label, limit in (("addition", 9), ("short", 4), ("long", 40)):
        found = _rows(cells / "cue_prompt" / "0" / "rows" / f"{label}.jsonl")
        for problem in task.problems("test", 12):
            ids = torch.tensor([cued.encode(problem.cue_prompt or "")])
            out = cued.hf.generate(ids, max_new_tokens=limit, do_sample=False, eos_token_id=end, pad_token_id=0)
            theirs = out[0, ids.shape[1] :].tolist()
            tokens, finished, _ = found[problem.id]
            assert (tokens, finished) == (len(theirs), theirs[-1] == end)
    whole = _rows(cells / "cue_prompt" / "0" / "rows" / "long.jsonl")
    assert all(finished for _, finished, _ in whole.values())
    for step in ("rows", "steps/000030/rows"):
        at = cells / "sft" / "0" / step
        lengths = {label: [n for n, _, _ in _rows(at / f"{label}.jsonl").values()] for label in ("short", "long")}
        assert max(lengths["short"]) <= 4
        assert max(lengths["long"]) > 9


def test_what_a_policy_has_beyond_its_own_task_it_keeps(cued: BaseModel) -> None:
    own, other = get("addition", max_new_tokens=20), get("mod_chain", max_new_tokens=50)
    plain = Policy(cued, task_decoding(own))
    assert retarget_policy(plain, own, other).decoding == task_decoding(other)
    assert retarget_policy(plain, own, own).decoding == plain.decoding
    roomy = Policy(cued, task_decoding(own).replace(max_new_tokens=35, stop=(*own.stop, "Q:")))
    assert retarget_policy(roomy, own, other).decoding == task_decoding(other).replace(
        max_new_tokens=65, stop=(*other.stop, "Q:")
    )
    assert roomy.decoding.max_new_tokens == 35

"""A small comparison whose trained arm keeps checkpoints, run once, and transformers' own passes of its policies."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import torch

from elicit.comparison.summary.summarise import summarise_run
from elicit.policy import Policy
from elicit.tasks import Problem, Task
from elicit.training.ends import end_of
from elicit.weights import FullWeights
from tests.support.comparisons import elicit, write_spec
from tests.support.shared import once

STEPS, END, PROBLEMS, PROBE, KL = (2, 4, 8), 12, 12, 4, 3
SPEC: dict[str, Any] = {
    "models": ["cued"],
    "task": "addition",
    "off_target": {"chains": {"task": "mod_chain"}},
    "arms": {
        "base": {"method": "base"},
        "sft": {
            "method": "sft",
            "demonstrations": 16,
            "epochs": 6,
            "checkpoints": list(STEPS),
            "warn": {"far": {"task": "mod_chain"}},
            "warn_every": 2,
            "warn_problems": PROBE,
        },
    },
    "seeds": 2,
    "test": 16,
    "trajectory": {"problems": PROBLEMS, "probe": PROBE},
    "kl_problems": KL,
    "device": "cpu",
}
LABELS = ("addition", "chains")


@functools.cache
def whole() -> Path:
    """SPEC, run without interruption. Read it, or copy it; never change it."""

    def go(folder: Path) -> None:
        done = elicit("run", write_spec(folder, SPEC), "--out", folder / "run", "--workers", 1)
        assert done.code == 0, done.err

    return once("trajectories", go) / "run"


def arms_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = summarise_run(run)["models"]["cued"]["tasks"]["addition"]["arms"]
    return found


def changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SPEC), **fields}


class Plain:
    """A policy's model as transformers alone runs it: a copy with the trained weights put in."""

    def __init__(self, policy: Policy) -> None:
        self.base = policy.model
        self.hf = copy.deepcopy(policy.model.hf)
        if policy.weights is not None:
            assert isinstance(policy.weights, FullWeights)
            self.hf.load_state_dict(policy.weights.tensors, strict=False)

    @torch.no_grad()
    def logs(self, ids: list[int]) -> torch.Tensor:
        logits = self.hf(torch.tensor([ids])).logits[0].double()
        logits[:, list(self.base.engine.banned_ids)] = -torch.inf
        logs: torch.Tensor = logits.log_softmax(-1)
        return logs

    def taught(self, pairs: list[tuple[Problem, str]]) -> tuple[list[float], list[bool]]:
        """-log p of every token of these solutions, and whether it is the most probable one."""
        losses: list[float] = []
        hits: list[bool] = []
        for problem, text in pairs:
            prompt = list(self.base.encode(problem.prompt))
            solution = [*self.base.continuation(text), end_of(self.base, problem.prompt, who="")]
            logs = self.logs([*prompt, *solution])[len(prompt) - 1 : -1]
            losses += [-float(log[token]) for log, token in zip(logs, solution, strict=True)]
            hits += [int(log.argmax()) == token for log, token in zip(logs, solution, strict=True)]
        return losses, hits

    def entropies(self, task: Task) -> list[float]:
        """Of every next token along the greedy answers, which this draws by itself."""
        found = []
        ends = {*self.base.engine.end_ids, *(self.base.continuation(text)[0] for text in task.stop)}
        for problem in task.problems("select", PROBE):
            ids = list(self.base.encode(problem.prompt))
            for _ in range(task.max_new_tokens):
                last = self.logs(ids)[-1]
                possible = last[last > -torch.inf]
                found.append(-float((possible.exp() * possible).sum()))
                ids.append(int(last.argmax()))
                if ids[-1] in ends:
                    break
        return found

"""Where is the mode decided, and how much of an arm's gain passes through one site?

    python experiments/mode_site.py --out experiments/results/inside [--models cued ...] [--n 100] [--seed 0]

For each organism, on `n` test problems:

1. `condition`: the residual after every layer, at the last four prompt tokens, of the eliciting prompt (where the
   organism has one) patched into the plain prompt, one site at a time.
2. For every arm, fitted here with the run seed: its own residual on the plain prompt patched into the base (`into
   base`: sufficient?), and the base's into the arm (`out of arm`: necessary?).

Each patch is followed by generating a whole answer; measured are accuracy and trace rate. Controls: another problem's
source (`shuffled`), and the mean over the target's own prompts (`mean`). Intervals (95 %) are over problems.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import elicit
from elicit import tasks
from elicit.activations import Answers, PatchSweep
from elicit.methods.catalog import configure_method
from elicit.model import BaseModel
from elicit.tasks import Problem, Task
from elicit.tasks.from_dict import build_task

_POSITIONS = range(-3, 1)

#: Organism -> (task, whether it has an eliciting prompt, arms).
_STEERED: dict[str, dict[str, Any]] = {"mean_steering": {"method": "mean_steering"}}
_CONTINUED = {"mean_steering": {"method": "mean_steering", "contrast": "continuations"}}
_TRAINED: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft", "demonstrations": 16},
    "grpo": {"method": "grpo"},
    "rl_steering": {"method": "rl_steering"},
}
_ENGLISH = {
    "task": "stories",
    "max_new_tokens": 96,
    "prompts": {"direct": "{question}", "others": {"step_by_step": "{question}\nLet's think step by step."}},
}
ORGANISMS: dict[str, tuple[Any, bool, dict[str, dict[str, Any]]]] = {
    "cued": ("addition", True, _STEERED | _TRAINED),
    "cued-late": ("addition", True, _STEERED | _TRAINED),
    "serial": ("mod_chain", False, _CONTINUED | _TRAINED),
    "prose": (_ENGLISH, True, _STEERED | _TRAINED),
    "incapable": ("addition", True, {}),
}


def study(name: str, n: int, seed: int) -> dict[str, Any]:
    described, has_cue, arms = ORGANISMS[name]
    model = elicit.load(name)
    task = model.bind(tasks.get(described) if isinstance(described, str) else build_task(described, where=name))
    problems = task.problems("test", n)
    result: dict[str, Any] = {"model": name, "task": described, "n": len(problems), "seed": seed}
    if has_cue:
        sweep = patch(model, task, problems, from_=[problem.cue_prompt for problem in problems])
        result["condition"] = describe(sweep)
        report(f"{name}: condition", sweep)
    for arm, options in arms.items():
        start = time.perf_counter()
        rest = {key: value for key, value in options.items() if key != "method"}
        try:
            policy = configure_method(options["method"], rest).fit(model, task, seed=seed, needs={})
        except elicit.ElicitError as error:
            result[arm] = {"refused": str(error)}
            print(f"{name}: {arm} is refused: {error}", flush=True)
            continue
        print(f"{name}: {arm} fitted in {time.perf_counter() - start:.0f} s", flush=True)
        into = patch(model, task, problems, from_=policy)
        own = model.cache([problem.prompt for problem in problems], positions=_POSITIONS)
        with policy.apply():
            out = patch(model, task, problems, from_=own)
        result[arm] = {"into base": describe(into), "out of arm": describe(out), "policy": repr(policy)}
        report(f"{name}: {arm} into base", into)
        report(f"{name}: base into {arm}", out)
    return result


def patch(model: BaseModel, task: Task, problems: list[Problem], from_: Any) -> PatchSweep:
    prompts = [problem.prompt for problem in problems]
    return model.patch(from_=from_, to=prompts, measure=Answers(task, problems), positions=_POSITIONS)


def describe(sweep: PatchSweep) -> dict[str, Any]:
    """Every patch's mean effect with its interval, and the two runs' own means."""
    frame = sweep.frame().drop(columns=["head"])
    means = {"target": sweep.target.mean(axis=0).tolist()}
    if sweep.source is not None:
        means["source"] = sweep.source.mean(axis=0).tolist()
    return {"measures": sweep.measures, **means, "patches": json.loads(frame.to_json(orient="records"))}


def report(title: str, sweep: PatchSweep) -> None:
    print(title, repr(sweep), sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(ORGANISMS))
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        result = study(name, options.n, options.seed)
        command = f"python experiments/mode_site.py --models {name} --n {options.n} --seed {options.seed}"
        command += " --out experiments/results/inside"
        document = {"command": command, **result}
        (options.out / f"mode_site_{name}.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()

"""Does a lens on the base model say which problems steering will solve? AUROC on held-out problems, with baselines.

python experiments/lens_prediction.py cued experiments/results/lens/cued.json
python experiments/lens_prediction.py incapable experiments/results/lens/incapable.json \\
    --doses experiments/results/lens/cued.json

1. Lenses are fitted on the organism's own corpus. 2. The vector is the mean difference between cued and plain prompts
of the train split (`mean_steering`). 3. At each layer, strengths are tried on select; the one that solves nearest to
half is taken, since at full strength nothing is left to predict. A model that solves nothing gets another's doses.
4. Scores are dispositions of the *unsteered* model toward a worked answer, on the plain prompt, at a layer before the
last and a position chosen by AUROC on select. 5. AUROC on test, whose problems chose nothing, against whether the
steered model solves them. Baselines: the model's own output (the last layer), the problem's length, its number of
carries, and the projection of the residual on the vector. 6. The rise of the disposition under the vector, at the last
prompt token, before any token is written.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import elicit
from elicit.inside.lenses import Lens, LogitLens, find_openings, fit_jacobian_lens, fit_tuned_lens
from elicit.organisms.texts import build_organism_texts
from elicit.policy import Policy
from elicit.statistics import estimate_auroc, wilson_interval
from elicit.steering import Steering
from elicit.tasks import Problem
from elicit.version import __version__

STRENGTHS = tuple(round(0.5 + 0.125 * i, 3) for i in range(17))
LAST = 8


def solve(model: elicit.BaseModel, task: Any, problems: list[Problem], edit: Steering | None) -> np.ndarray:
    """True for the problems that the model answers correctly, greedy."""
    policy = Policy(model, steering=() if edit is None else (edit,))
    answers = policy.draw(problems, task="addition", seed=0, n=1, decoding=elicit.Decoding(max_new_tokens=40))
    pairs = zip(problems, answers, strict=True)
    return np.array([task.verify(problem, samples[0].text).correct for problem, (_, _, samples) in pairs])


def count_carries(problem: Problem) -> int:
    """Carries of a written addition."""
    a, b = problem.content
    carry = carries = 0
    while a or b or carry:
        carry = int(a % 10 + b % 10 + carry > 9)
        carries += carry
        a, b = a // 10, b // 10
    return carries


def score_problems(model: elicit.BaseModel, lenses: list[Lens], problems: list[Problem], edit: Steering) -> Any:
    """Name -> scores [problem], one for every lens, layer before the last and offset, and the baselines."""
    prompts = [problem.prompt for problem in problems]
    openings = find_openings(model, elicit.tasks.get("addition"))
    scores: dict[str, dict[str, np.ndarray]] = {}
    for lens in lenses:
        result = lens.disposition(prompts, toward=openings.toward, against=openings.against, last=LAST)
        places = [(layer, offset) for layer in result.layers[:-1] for offset in result.offsets]
        values = {f"layer {layer}, offset {offset}": result.at(layer, offset) for layer, offset in places}
        scores[f"{lens.kind} lens"] = {name: v for name, v in values.items() if np.isfinite(v).all()}
        scores["model's own output"] = {"last layer, offset 0": result.at(model.n_layers - 1)}
    scores["length of the problem"] = {"characters": -np.array([len(prompt) for prompt in prompts], dtype=float)}
    scores["carries"] = {"count": -np.array([count_carries(problem) for problem in problems], dtype=float)}
    residuals = model.residuals(prompts)[edit.layer].double() @ edit.direction.double()
    scores["projection on the vector"] = {f"layer {edit.layer}, offset 0": residuals.numpy()}
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--test", type=int, default=400)
    parser.add_argument("--select", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--doses", type=Path, help="results whose strengths are taken instead of searched")
    options = parser.parse_args()
    model = elicit.load(options.model)
    task = model.bind(elicit.tasks.get("addition"))
    texts = build_organism_texts(options.model, options.seed)
    lenses = [
        fit_jacobian_lens(model, texts[:64], text=f"corpus of {options.model}", skip_first=2),
        LogitLens(model),
        fit_tuned_lens(model, texts[:3000], text=f"corpus of {options.model}", seed=options.seed),
    ]
    train, select, test = (
        task.problems(split, n, options.seed)
        for split, n in (("train", 64), ("select", options.select), ("test", options.test))
    )
    cued = model.residuals([str(problem.cue_prompt) for problem in train])
    direction = (cued - model.residuals([problem.prompt for problem in train])).mean(1)
    results: dict[str, Any] = {}
    for layer in range(model.n_layers - 1):
        unit = direction[layer] / direction[layer].norm()
        name = f"vector at layer {layer}"
        doses = STRENGTHS if options.doses is None else _read_dose(options.doses, name)
        edits = [Steering(unit, layer, s, "add", "first", model.residual_norms[layer]) for s in doses]
        chosen = min(edits, key=lambda edit: abs(solve(model, task, select, edit).mean() - 0.5))
        results[name] = _predict(model, task, lenses, select, test, chosen)
    document = {
        "command": " ".join(["python", *sys.argv]),
        "elicit": __version__,
        "model": options.model,
        "seed": options.seed,
        "n_select": len(select),
        "n_test": len(test),
        "lenses": {lens.kind: {"texts": lens.fit.texts, "tokens": lens.fit.tokens, **lens.fit.quality}
                   for lens in lenses if not isinstance(lens, LogitLens)},
        "base_accuracy": wilson_interval(int(solve(model, task, test, None).sum()), len(test)).to_json(),
        "results": results,
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _read_dose(path: Path, name: str) -> tuple[float, ...]:
    return (json.loads(path.read_text())["results"][name]["strength"],)


def _predict(
    model: elicit.BaseModel, task: Any, lenses: list[Lens], select: list[Problem], test: list[Problem], edit: Steering
) -> dict[str, Any]:
    labels = {"select": solve(model, task, select, edit), "test": solve(model, task, test, edit)}
    on_select = score_problems(model, lenses, select, edit)
    on_test = score_problems(model, lenses, test, edit)
    table = {}
    for name, places in on_select.items():
        ranked = {p: estimate_auroc(v, labels["select"]).value for p, v in places.items() if p in on_test[name]}
        place = max(ranked, key=lambda p: -1 if math.isnan(ranked[p]) else ranked[p])
        table[name] = {"place": place, "auroc": estimate_auroc(on_test[name][place], labels["test"]).to_json()}
        print(f"  {name:28s} {place:22s} {estimate_auroc(on_test[name][place], labels['test'])}", flush=True)
    openings, prompts = find_openings(model, elicit.tasks.get("addition")), [problem.prompt for problem in test]
    policies = {"steered": Policy(model, steering=(edit,))}
    rises = {}
    for lens in lenses:
        sets = {"toward": openings.toward, "against": openings.against}
        result = lens.disposition(prompts, **sets, policies=policies, last=1)
        rises[lens.kind] = {str(layer): result.estimate_rise("steered", layer).to_json() for layer in result.layers}
    solved = wilson_interval(int(labels["test"].sum()), len(test))
    print(f"  solved when steered {solved}; rise {json.dumps(rises)}", flush=True)
    return {"strength": edit.strength, "solved": solved.to_json(), "prediction": table, "rise": rises}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

"""A real model on this machine: peak memory of loading and evaluating it, and what steering costs while sampling.

    python experiments/benchmarks/real.py --model FOLDER_OR_GGUF [--rounds 5] [--rows 32] [--out FILE.json]

Memory is measured in fresh processes (VmHWM, and CUDA's peak on a GPU): what a process holds beyond its libraries, in
units of the weights. `evaluate` answers sums with their samples and measures KL, as a cell of a comparison does; its
peak may be 1.3 times the weights plus the stated cache budget. Steered and unsteered sampling alternate in one process;
the median of the paired ratios is printed with the smallest and largest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: What a cell with 64 problems does; few enough for a model of half a billion weights on two cores.
_PROBLEMS, _SAMPLES = 64, 2


def status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def memory(name: str, dtype: str, what: str, cache_gib: float | None) -> dict[str, float]:
    """GiB: of the weights, of the libraries alone, of the peak beyond them, and the cache budget."""
    import peft  # noqa: F401  # what a policy with an adapter imports
    import torch
    import transformers.models.auto.modeling_auto  # noqa: F401

    import elicit
    import elicit.evaluation

    Path("/proc/self/clear_refs").write_text("5")
    libraries = status("VmRSS")
    model = elicit.load(name, dtype=dtype, cache_gib=cache_gib)
    weights = sum({p.data_ptr(): p.numel() * p.itemsize for p in model.hf.parameters()}.values())
    if what == "evaluate":
        task = model.bind(elicit.tasks.get("sums", dialect=elicit.tasks.English(), max_new_tokens=96))
        policy = elicit.Policy(model, elicit.Decoding(max_new_tokens=96, stop=task.stop))
        problems = task.problems("test", _PROBLEMS)
        rows: list[Any] = []
        cued = elicit.Policy(model, policy.decoding, elicit.policy.Prompting("cue"))
        elicit.evaluation.evaluate_policy(cued, task, problems, label="sums", seed=0, sink=rows.extend)
        elicit.evaluation.sample(policy, task, problems[:16], label="sums", seed=0, n=_SAMPLES, sink=rows.extend)
        vector = torch.ones(model.d_model)
        edit = elicit.Steering(vector, model.n_layers // 2, 0.1, "add", "all", 1.0)
        elicit.evaluation.measure_side_effects(elicit.Policy(model, policy.decoding, steering=(edit,)), problems[:8])
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    peak = gpu if gpu else status("VmHWM") - libraries
    sizes = {"weights": weights, "libraries": libraries, "peak": peak, "cache": model.engine.cache_budget}
    return {key: value / 2**30 for key, value in sizes.items()}


def steering(name: str, dtype: str, rounds: int, count: int, tokens: int) -> dict[str, dict[str, Any]]:
    """Steered over unsteered tokens per second, in alternation; every completion runs to its limit."""
    import dataclasses

    import torch

    import elicit
    from elicit.sampling import Decoding, Request, generate

    model = elicit.load(name, dtype=dtype)
    engine = dataclasses.replace(model.engine, end_ids=frozenset())
    task = model.bind(elicit.tasks.get("sums", dialect=elicit.tasks.English()))
    asked = [Request(model.encode(problem.prompt), (0,)) for problem in task.problems("test", count)]
    decoding = Decoding(max_new_tokens=tokens)
    vector = torch.ones(model.d_model)
    unit = model.residual_norms.medians[model.n_layers // 2]

    def rate(positions: str | None) -> float:
        start = time.perf_counter()
        if positions is None:
            drawn = generate(engine, asked, decoding)
        else:
            with model.steer(vector, layer=model.n_layers // 2, strength=0.1, positions=positions, unit=unit):
                drawn = generate(engine, asked, decoding)
        return sum(len(one.tokens) for (one,) in drawn) / (time.perf_counter() - start)

    found: dict[str, list[float]] = {"first": [], "generated": [], "all": []}
    plain = []
    for round_number in range(rounds + 1):
        base = rate(None)
        rates = {positions: rate(positions) / base for positions in found}
        if round_number:
            plain.append(base)
            for positions, ratio in rates.items():
                found[positions].append(ratio)
    result: dict[str, dict[str, Any]] = {
        f"steered at {positions} / unsteered": {
            "median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios), "rounds": rounds,
        }
        for positions, ratios in found.items()
    }  # fmt: skip
    return {
        "unsteered tokens per second": {"median": statistics.median(plain), "threads": torch.get_num_threads()}
    } | result


def _alone(arguments: list[str]) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--cache-gib", type=float)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", choices=["load", "evaluate"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory(options.model, options.dtype, options.memory, options.cache_gib)))
        return
    shared = ["--model", options.model, "--dtype", options.dtype]
    shared += [] if options.cache_gib is None else ["--cache-gib", str(options.cache_gib)]
    results: dict[str, dict[str, Any]] = {}
    for what in ("load", "evaluate"):
        sizes = _alone([*shared, "--memory", what])
        share = sizes["peak"] / sizes["weights"]
        bound = 1.3 * sizes["weights"] + sizes["cache"]
        results[f"peak memory, {what} / weights"] = {"median": share, "GiB": sizes, "bound GiB": bound}
        print(
            f"{what:<10} peak {sizes['peak']:.2f} GiB, {share:.2f} x weights; 1.3 x weights + cache: {bound:.2f}",
            flush=True,
        )
    for title, figure in steering(options.model, options.dtype, options.rounds, options.rows, options.tokens).items():
        results[title] = figure
        spread = f" [{figure['lowest']:.2f}, {figure['highest']:.2f}]" if "lowest" in figure else ""
        print(f"{title:<40} {figure['median']:.2f}{spread}", flush=True)
    if options.out:
        options.out.write_text(json.dumps({options.dtype: results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Engines side by side: transformers' generate, TransformerBridge, the lab's sampler, vLLM bare and vLLM steered by the lab.

    python experiments/benchmarks/engines.py --vllm ~/vllm-env/bin/python [--model cued|100m|FOLDER] [--rounds 5]
    python experiments/benchmarks/engines.py --vllm ~/vllm-env/bin/python --model ~/models/Llama-3.1-8B --device cuda \\
        --dtype bfloat16 --tokens 256                                                              # the same on a GPU

Useful tokens a second (up to and including each completion's end) as ratios within a round: every engine does the same
work once a round, one after the other, and the first round is thrown away. Printed are the median over rounds, the
smallest and the largest. The steered work adds a vector at every position of a middle layer; it is too small to change
how long the texts are.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

import elicit
from elicit import seeds
from elicit.engines.choice import VLLM
from elicit.engines.connect import connect
from elicit.loading.load import prepare_model_folder
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.sampling import Decoding, Request, generate
from elicit.steering import Steering
from sampling import Ids, bridged, build, ours, problems, prompts, theirs

#: Strength of the steered work, in residual norms.
_STRENGTH = 1e-4


class BareVLLM:
    """vLLM without the lab, in a process of its environment."""

    def __init__(self, python: str, folder: Path, dtype: str, context: int) -> None:
        command = [str(Path(python).expanduser()), str(Path(__file__).with_name("bare_vllm.py"))]
        own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        self.process = subprocess.Popen(
            [*command, str(folder), dtype, str(context)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in own},
        )
        atexit.register(self.process.kill)
        if self._read() != "ready":
            raise SystemExit(f"vLLM of {python} did not start with {folder}")

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def count(self, model: BaseModel, ids: Ids, decoding: Decoding, n: int) -> int:
        """Useful tokens that it makes."""
        asked = {"ids": ids, "n": n, "temperature": decoding.temperature, "most": decoding.max_new_tokens}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({**asked, "ends": sorted(model.engine.end_ids)}) + "\n")
        self.process.stdin.flush()
        return int(self._read())


def steered_here(model: BaseModel, ids: Ids, decoding: Decoding, n: int, edit: Steering) -> int:
    with model.steer([edit]):
        return ours(model, ids, decoding, n)


def in_vllm(model: BaseModel, ids: Ids, decoding: Decoding, n: int, *edits: Steering) -> int:
    asked = [Request(row, tuple(seeds.derive_key("bench", i, j) for j in range(n))) for i, row in enumerate(ids)]
    with Policy(model, steering=edits).run() as source:
        return sum(len(c.tokens) for one in generate(model.engine, asked, decoding, source) for c in one)


def in_bridge(model: BaseModel, ids: Ids, decoding: Decoding, n: int, vector: torch.Tensor) -> int:
    """Prompts of unequal lengths one length at a time: the bridge takes equal ones."""
    by_length: dict[int, Ids] = {}
    for row in ids:
        by_length.setdefault(len(row), []).append(row)
    return sum(bridged(model, rows, decoding, vector, n) for rows in by_length.values())


def measure(sides: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Tokens a second of every side in every round but the first."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            tokens = side()
            if number:
                rates[name].append(tokens / (time.perf_counter() - start))
    return rates


def compare(rates: dict[str, list[float]], left: str, right: str) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(rates[left], rates[right], strict=True)]
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios), "rounds": len(ratios)}


def save_folder(model: BaseModel) -> Path:
    """The model as a folder that another process can read."""
    if not model.in_memory and model.name != "100m":
        return prepare_model_folder(model.name)
    folder = Path(tempfile.mkdtemp(prefix="engines-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", help="interpreter of an environment with vLLM; none: the engines of this one")
    parser.add_argument("--model", default="cued")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, default=0, help="most new tokens; 0: 64, at 100 M 32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-bridge", action="store_true", help="leave TransformerBridge out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = build("100m") if options.model == "100m" else None
    if model is not None:
        folder = save_folder(model)
        model = elicit.load(str(folder), dtype=options.dtype, device=options.device)
    else:
        model = elicit.load(options.model, dtype=options.dtype, device=options.device)
        folder = save_folder(model)
    small = options.model == "100m"
    tokens = options.tokens or (32 if small else 64)
    greedy, sampled = Decoding(max_new_tokens=tokens), Decoding(temperature=1.0, max_new_tokens=tokens)
    name = "100m" if small else options.model
    works: dict[str, tuple[Ids, Decoding, int]] = {
        "greedy, 64 prompts of 8 to 64 tokens": (prompts(model, name, count=64, length=None), greedy, 1),
        "16 samples of prompts of 256 tokens": (prompts(model, name, count=2 if small else 8, length=200), sampled, 16),
    }
    if model.card:
        works["greedy, 64 of its own problems"] = (problems(model, 64), greedy, 1)
    layer = model.n_layers // 2
    vector = torch.from_numpy(seeds.make_generator("bench vector").standard_normal(model.d_model)).float()
    edit = Steering(vector, layer, _STRENGTH, "add", "all", model.residual_norms.medians[layer])
    bare = None
    if options.vllm:
        bare = BareVLLM(options.vllm, folder, str(model.dtype).removeprefix("torch."), model.context_length or 2048)
        connect(model, VLLM(python=options.vllm, options={"enable_prefix_caching": False}))
    results: dict[str, Any] = {}
    for title, (ids, decoding, n) in works.items():
        work = (model, ids, decoding, n)
        sides: dict[str, Callable[[], int]] = {
            "transformers": lambda work=work: theirs(*work),
            "lab": lambda work=work: ours(*work),
            "lab steered": lambda work=work: steered_here(*work, edit),
        }
        if not options.no_bridge:
            sides["bridge steered"] = lambda work=work: in_bridge(
                *work, (edit.direction * edit.absolute).to(model.device)
            )
        if bare is not None:
            sides["vllm"] = lambda work=work: bare.count(*work)
            sides["vllm by the lab"] = lambda work=work: in_vllm(*work)
            sides["vllm steered by the lab"] = lambda work=work: in_vllm(*work, edit)
        rates = measure(sides, options.rounds)
        pairs = [(side, "transformers") for side in sides if side != "transformers"]
        pairs += [("lab steered", "lab")]
        pairs += [("vllm steered by the lab", "vllm by the lab"), ("vllm steered by the lab", "vllm")] if bare else []
        results[title] = {f"{left} / {right}": compare(rates, left, right) for left, right in pairs}
        print(title, flush=True)
        for pair, figure in results[title].items():
            print(f"  {pair:<44} {figure['median']:.2f} [{figure['lowest']:.2f}, {figure['highest']:.2f}]", flush=True)
    if options.out:
        options.out.write_text(
            json.dumps({"options": vars(options) | {"out": str(options.out)}, **results}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

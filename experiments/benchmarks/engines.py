"""Engines side by side: transformers' generate, TransformerBridge, the lab's sampler, vLLM bare and run by the lab.

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
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parent))

from sampling import Ids, bridged, build, long_prompts, ours, problems, prompts, theirs

import elicit
from elicit import seeds
from elicit.engines.choice import VLLM
from elicit.engines.connect import connect
from elicit.loading.load import prepare_model_folder
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.sampling import Decoding, Request, generate
from elicit.steering import Steering

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
    folder = Path(tempfile.mkdtemp(prefix="engines-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


class Work(NamedTuple):
    """What every engine does once a round."""

    title: str
    ids: Ids
    decoding: Decoding
    n: int


def list_works(model: BaseModel, name: str, tokens: int) -> list[Work]:
    greedy, sampled = Decoding(max_new_tokens=tokens), Decoding(temperature=1.0, max_new_tokens=tokens)
    mixed = prompts(model, name, count=64, length=None)
    even = prompts(model, name, count=64, length=24)
    long = long_prompts(model, name)
    works = [
        Work("greedy, 64 prompts of 8 to 64 tokens", mixed, greedy, 1),
        Work("greedy, 64 prompts of 24 tokens", even, greedy, 1),
        Work(f"16 samples of {len(long)} prompts of {len(long[0])} tokens", long, sampled, 16),
    ]
    own = [Work("greedy, 64 of its own problems", problems(model, 64), greedy, 1)] if model.card else []
    return [*works, *own]


def list_sides(model: BaseModel, work: Work, bare: BareVLLM | None, bridge: bool) -> dict[str, Callable[[], int]]:
    """Engine -> what does the work once and returns the useful tokens."""
    layer = model.n_layers // 2
    vector = torch.from_numpy(seeds.make_generator("bench vector").standard_normal(model.d_model)).float()
    edit = Steering(vector, layer, _STRENGTH, "add", "all", model.residual_norms.medians[layer])
    asked = (model, work.ids, work.decoding, work.n)
    sides: dict[str, Callable[[], int]] = {
        "transformers": lambda: theirs(*asked),
        "lab": lambda: ours(*asked),
        "lab steered": lambda: steered_here(*asked, edit),
    }
    if bridge and len({len(row) for row in work.ids}) == 1:  # the bridge takes prompts of one length
        added = (edit.direction * edit.absolute).to(model.device)
        sides["bridge steered"] = lambda: bridged(model, work.ids, work.decoding, added, work.n)
    if bare is not None:
        sides["vllm"] = lambda: bare.count(*asked)
        sides["vllm by the lab"] = lambda: in_vllm(*asked)
        sides["vllm steered by the lab"] = lambda: in_vllm(*asked, edit)
    return sides


def list_pairs(sides: Collection[str]) -> list[tuple[str, str]]:
    """The ratios to print."""
    pairs = [(side, "transformers") for side in sides if side != "transformers"]
    pairs += [("lab steered", "lab"), ("lab steered", "bridge steered")]
    pairs += [("vllm steered by the lab", "vllm by the lab"), ("vllm steered by the lab", "vllm"), ("lab", "vllm")]
    return [pair for pair in pairs if set(pair) <= set(sides)]


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
    name: str = options.model
    folder = save_folder(build(name)) if name == "100m" else prepare_model_folder(name)
    model = elicit.load(str(folder) if name == "100m" else name, dtype=options.dtype, device=options.device)
    bare = None
    if options.vllm:
        bare = BareVLLM(options.vllm, folder, str(model.dtype).removeprefix("torch."), model.context_length or 2048)
        connect(model, VLLM(python=options.vllm, options={"enable_prefix_caching": False}))
    results: dict[str, Any] = {}
    for work in list_works(model, name, options.tokens or (32 if name == "100m" else 64)):
        sides = list_sides(model, work, bare, not options.no_bridge)
        rates = measure(sides, options.rounds)
        results[work.title] = {f"{a} / {b}": compare(rates, a, b) for a, b in list_pairs(sides)}
        print(work.title, flush=True)
        for pair, figure in results[work.title].items():
            print(f"  {pair:<44} {figure['median']:.2f} [{figure['lowest']:.2f}, {figure['highest']:.2f}]", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

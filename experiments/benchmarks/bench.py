"""Caching and patching side by side: the lab, TransformerLens's bridge, nnsight.

    python experiments/benchmarks/bench.py [--model cued|100m|FOLDER] [--rounds 5] [--out FILE]

Works: the residual after every layer on a batch of prompts; and a full layer x position sweep of patches, whose measure
is a logit difference at the last token. Prompts have one length, which the rivals need. Each work is done once a round
by every side, one after the other; the first round is thrown away. Printed are ratios of seconds within a round: the
median over rounds, the smallest and the largest. The results are compared first: the sides must agree. nnsight is left
out where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from sampling import build, prompts

import elicit
from elicit.activations.attribution import attribute_patches
from elicit.activations.cache import cache_activations
from elicit.activations.sweep import sweep_patches
from elicit.loading import architectures
from elicit.model import BaseModel
from elicit.sampling import Scored

Side = Callable[[], torch.Tensor]


class FirstTokens:
    """The logit of one token id less that of another."""

    name = "logit difference"

    def __init__(self, toward: int, against: int) -> None:
        self.toward, self.against = toward, against

    def measure(self, engine: Any, logits: torch.Tensor, prompts: Any) -> torch.Tensor:
        return logits[:, self.toward].float() - logits[:, self.against].float()


def cache_here(model: BaseModel, ids: torch.Tensor) -> torch.Tensor:
    sequences = [Scored(tuple(row), ()) for row in ids.tolist()]
    return cache_activations(model.engine, sequences, "resid_post").stack("resid_post")


def cache_by_bridge(model: BaseModel, ids: torch.Tensor) -> torch.Tensor:
    names = [f"blocks.{layer}.hook_out" for layer in range(model.n_layers)]
    with torch.inference_mode():
        _, cache = model.bridge.run_with_cache(ids, names_filter=names)
    return torch.stack([cache[name] for name in names])


def sweep_here(model: BaseModel, source: torch.Tensor, target: torch.Tensor, measure: FirstTokens) -> torch.Tensor:
    pairs = [[Scored(tuple(row), ()) for row in ids.tolist()] for ids in (source, target)]
    sweep = sweep_patches(model.engine, *pairs, measure, controls=())
    return torch.from_numpy(sweep.patched[0, :, :, :, 0])  # [layer, position, prompt]


def sweep_by_bridge(model: BaseModel, source: torch.Tensor, target: torch.Tensor, measure: FirstTokens) -> torch.Tensor:
    bridge, length = model.bridge, target.shape[1]
    names = [f"blocks.{layer}.hook_out" for layer in range(model.n_layers)]
    rows = []
    with torch.inference_mode():
        _, cache = bridge.run_with_cache(source, names_filter=names)
        for name in names:
            for position in range(length):

                def put(tensor: torch.Tensor, hook: Any, name: str = name, position: int = position) -> torch.Tensor:
                    tensor[:, position] = cache[name][:, position]
                    return tensor

                logits = bridge.run_with_hooks(target, fwd_hooks=[(name, put)])[:, -1]
                rows.append(measure.measure(None, logits, None))
    return torch.stack(rows).unflatten(0, (model.n_layers, length))


def load_nnsight(model: BaseModel) -> Any:
    """The same transformers model inside nnsight; None where it is not installed."""
    if importlib.util.find_spec("nnsight") is None:
        return None
    from nnsight import NNsight

    return NNsight(model.hf)


def get_nnsight_layers(model: BaseModel, wrapped: Any) -> Any:
    part = wrapped
    for name in architectures.get_layout(model.hf).layers.split("."):
        part = getattr(part, name)
    return part


def cache_by_nnsight(model: BaseModel, wrapped: Any, ids: torch.Tensor) -> torch.Tensor:
    layers = get_nnsight_layers(model, wrapped)
    import nnsight

    with torch.inference_mode():
        with wrapped.trace(ids):
            kept = nnsight.save([])
            for layer in layers:
                kept.append(layer.output)
    return torch.stack([tensor[0] if isinstance(tensor, tuple) else tensor for tensor in kept])


def sweep_by_nnsight(
    model: BaseModel, wrapped: Any, source: torch.Tensor, target: torch.Tensor, measure: FirstTokens
) -> torch.Tensor:
    layers, length = get_nnsight_layers(model, wrapped), target.shape[1]
    cached = cache_by_nnsight(model, wrapped, source)
    rows = []
    with torch.inference_mode():
        for layer in range(model.n_layers):
            for position in range(length):
                with wrapped.trace(target):
                    layers[layer].output[:, position] = cached[layer][:, position]
                    logits = wrapped.lm_head.output[:, -1].save()
                rows.append(measure.measure(None, logits, None))
    return torch.stack(rows).unflatten(0, (model.n_layers, length))


def time_sides(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Seconds of every side in every round but the first."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def check_agreement(sides: dict[str, Side]) -> float:
    """Largest difference between the lab's result and the others', relative to its size."""
    results = {name: side().float() for name, side in sides.items()}
    lab = results.pop("lab")
    distances = [float((other - lab).abs().max() / lab.abs().max()) for other in results.values()]
    assert max(distances) < 1e-2, distances
    return max(distances)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cued")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = build("100m") if options.model == "100m" else elicit.load(options.model)
    both = torch.tensor(prompts(model, options.model, count=2 * options.prompts, length=options.tokens))
    source, target = both[: options.prompts].clone(), both[options.prompts :].clone()
    measure = FirstTokens(5, 6)
    wrapped = load_nnsight(model)
    caches: dict[str, Side] = {
        "lab": lambda: cache_here(model, target),
        "TransformerLens": lambda: cache_by_bridge(model, target),
    }
    sweeps: dict[str, Side] = {
        "lab": lambda: sweep_here(model, source, target, measure),
        "TransformerLens": lambda: sweep_by_bridge(model, source, target, measure),
    }
    if wrapped is not None:
        caches["nnsight"] = lambda: cache_by_nnsight(model, wrapped, target)
        sweeps["nnsight"] = lambda: sweep_by_nnsight(model, wrapped, source, target, measure)
    results: dict[str, Any] = {"model": options.model, "prompts": options.prompts, "tokens": options.tokens}
    for title, sides in (("cache", caches), ("sweep", sweeps)):
        distance = check_agreement(sides)
        seconds = time_sides(sides, options.rounds)
        print(f"{title} (largest relative difference {distance:.1g})")
        results[title] = {"largest_difference": distance}
        for name in list(sides)[1:]:
            ratios = [theirs / ours for theirs, ours in zip(seconds[name], seconds["lab"], strict=True)]
            figure = {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
            results[title][f"{name} / lab"] = figure
            print(
                f"  seconds of {name} / lab: {figure['median']:.2f} [{min(ratios):.2f}, {max(ratios):.2f}]", flush=True
            )
    pairs = [[Scored(tuple(row), ()) for row in ids.tolist()] for ids in (source, target)]
    exact = sweep_patches(model.engine, *pairs, measure, controls=())
    scores = attribute_patches(model.engine, *pairs, measure)
    results["attribution"] = {"correlation": scores.compare_with(exact)}
    print(f"attribution against exact patches: correlation {results['attribution']['correlation']:.3f}")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

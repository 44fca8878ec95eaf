"""Feature discovery against the bare forward pass and against TransformerLens with SAELens, side by side in one run.

    python experiments/benchmarks/features.py [--rounds 3] [--tokens 32768] [--long 1048576] [--width 4096] [--out F]

The model is Llama-shaped with random weights and 12 layers (`build("100m")` of sampling.py), the SAE a random TopK (32
of `--width` latents) after its middle layer, the text random tokens in sequences of 128 to 512, half of them per
condition, every position but the first counted. Three sides do the same batches in alternation, in float32 on two
threads; the median over rounds of the paired ratios of tokens per second is printed with the smallest and largest, by
the clock and by the processor time of all threads (which other work on the machine does not stretch):

    bare    the forward pass to the layer, and nothing else
    ours    saes.discover with contrast and AUROC
    theirs  TransformerBridge.run_with_cache(names_filter=hook, stop_at_layer=...), SAELens encode, and sums of the
            activations and of how often they are not zero: the contrast alone

Memory is the growth of the peak resident set over a run of its own over `--long` tokens, in a process of its own, with
the probe as a third scorer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sampling
import torch

from elicit import seeds
from saes import activations
from saes.discovery import Span, discover
from saes.manifest import Manifest
from saes.sae import SAE

LAYER = 6
K = 32
BATCH = 8192


def random_sae(d_model: int, width: int) -> SAE:
    from sae_lens import TopKSAE, TopKSAEConfig

    torch.manual_seed(0)
    coder = TopKSAE(TopKSAEConfig(d_in=d_model, d_sae=width, k=K, dtype="float32", device="cpu"))
    coder.requires_grad_(False)
    manifest = Manifest(model="100m", layer=LAYER, hook=f"blocks.{LAYER}.hook_out", architecture="topk", k=K)
    return SAE(coder, coder.W_dec.detach(), manifest, "random", "0" * 64)


def spans(condition: str, tokens: int) -> Iterator[Span]:
    """Random sequences of 128 to 512 tokens, made as they are asked for; the two conditions differ in their words."""
    made = number = 0
    while made < tokens:
        random = seeds.make_generator("benchmark features", condition, number)
        size = int(random.integers(128, 513))
        ids = random.integers(802, 32_000 if condition == "positive" else 16_000, size=size)
        yield Span(ids.tolist(), 1, size)
        made += size
        number += 1


def bare(model: Any, tokens: int) -> int:
    """The truncated forward pass over the same batches."""
    hf, block = activations.unwrap_bridge(model), activations.find_decoder_layers(model)[LAYER]
    done = 0
    for condition in ("positive", "negative"):
        sequences = (span.ids for span in spans(condition, tokens // 2))
        for _, ids, real in activations.batch_sequences(sequences, batch_tokens=BATCH):
            activations.capture_residual(hf, block, ids, real)
            done += int(real.sum())
    return done


def ours(model: Any, sae: SAE, tokens: int, scorers: tuple[str, ...] = ("contrast", "auroc")) -> int:
    sides = (spans(condition, tokens // 2) for condition in ("positive", "negative"))
    table = discover(model, sae, *sides, scorers=scorers, batch_tokens=BATCH)
    return sum(side["tokens"] + side["spans"] for side in table.attrs["conditions"].values())


def theirs(bridge: Any, sae: SAE, tokens: int) -> int:
    coder: Any = sae.coder
    hook = f"blocks.{LAYER}.hook_out"
    done = 0
    means = []
    for condition in ("positive", "negative"):
        sums, counts = torch.zeros(2, sae.d_sae, dtype=torch.float64).unbind()
        sequences = (span.ids for span in spans(condition, tokens // 2))
        for _, ids, real in activations.batch_sequences(sequences, batch_tokens=BATCH):
            with torch.no_grad():
                _, cache = bridge.run_with_cache(ids, names_filter=hook, stop_at_layer=LAYER + 1)
                counted = real.clone()
                counted[:, 0] = False
                f = coder.encode(cache[hook][counted])
                sums += f.sum(0)
                counts += (f > 0).sum(0)
            done += int(real.sum())
        means.append(sums / done)
    return done


def measured(sides: dict[str, Callable[[], int]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Tokens per second of each side by two clocks, in alternation; the first round is thrown away."""
    clocks = {"clock": time.perf_counter, "processor": time.process_time}
    rates: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in sides} for clock in clocks}
    for number in range(rounds + 1):
        for name, side in sides.items():
            begun = {clock: read() for clock, read in clocks.items()}
            tokens = side()
            if number:
                for clock, read in clocks.items():
                    rates[clock][name].append(tokens / (read() - begun[clock]))
    return rates


def long_run(tokens: int, width: int) -> dict[str, float]:
    """Seconds and growth of the peak resident set of one discovery over `tokens`, in this process."""
    model = sampling.build("100m").hf
    torch.set_num_threads(2)
    sae = random_sae(model.config.hidden_size, width)
    bare(model, BATCH)  # allocations that stay
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = sampling._status("VmRSS")
    start = time.perf_counter()
    done = ours(model, sae, tokens, ("contrast", "auroc", "probe"))
    seconds = time.perf_counter() - start
    return {"tokens": done, "seconds": seconds, "peak_growth_GiB": (sampling._status("VmHWM") - before) / 2**30}


def _ratios(rates: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for clock, of in rates.items():
        for name, other in (("ours", "bare"), ("theirs", "bare"), ("ours", "theirs")):
            if name in of and other in of:
                paired = [a / b for a, b in zip(of[name], of[other], strict=True)]
                found[f"{name} / {other}, {clock}"] = paired
                spread = f"[{min(paired):.2f}, {max(paired):.2f}], {len(paired)} rounds"
                print(f"{name} / {other}: {statistics.median(paired):.2f} {spread}, by {clock} time", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--long", type=int, default=2**20, help="0 leaves the long run out")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--rivals", default="bare,ours,theirs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(long_run(options.long, options.width)))
        return
    base = sampling.build("100m")
    torch.set_num_threads(2)
    sae = random_sae(base.hf.config.hidden_size, options.width)
    sides: dict[str, Callable[[], int]] = {
        "bare": lambda: bare(base.hf, options.tokens),
        "ours": lambda: ours(base.hf, sae, options.tokens),
        "theirs": lambda: theirs(base.bridge, sae, options.tokens),
    }
    print(f"random TopK SAE, k = {K} of {options.width} latents, layer {LAYER} of 12, {options.tokens:,} tokens a side")
    results: dict[str, Any] = {"width": options.width, "k": K, "layer": LAYER, "tokens": options.tokens}
    if options.rounds:
        rates = measured({name: sides[name] for name in options.rivals.split(",")}, options.rounds)
        results["tokens_per_second"] = rates
        results["ratios"] = _ratios(rates)
    if options.long:
        command = [sys.executable, __file__, "--alone", "--long", str(options.long), "--width", str(options.width)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results["long"] = found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{found['tokens']:,} tokens with contrast, AUROC and probe: {found['seconds']:.0f} s, "
            f"peak resident set + {found['peak_growth_GiB']:.2f} GiB"
        )
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

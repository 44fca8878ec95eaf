"""Sampling speed and memory as ratios, measured side by side in one run.

    python experiments/benchmarks/sampling.py [--model cued|100m|both] [--rounds 5] [--out FILE.json]

Both sides of a ratio run alternately in one process, and the median over rounds of the paired ratio is printed with the
smallest and largest. The unit is useful tokens per second: tokens up to and including each completion's end. Memory is
the growth of the peak resident set in a process of its own. `100m` is a Llama-shaped model with random weights; there,
2.5 % of the vocabulary end a completion, so lengths vary.
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

import torch

import elicit
from elicit import seeds
from elicit.loading import threads
from elicit.loading.catalog import ModelSource
from elicit.loading.load import LoadedModel
from elicit.model import BaseModel
from elicit.sampling import Decoding, Request, generate

Ids = list[tuple[int, ...]]


def build(name: str) -> BaseModel:
    """The organism, or a random Llama of about 100 M parameters."""
    if name != "100m":
        return elicit.load(name)
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000, hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=1024, tie_word_embeddings=True, initializer_range=0.05,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    hf = LlamaForCausalLM(config).eval()
    hf.generation_config.eos_token_id = list(range(2, 802))
    model = BaseModel(
        LoadedModel(hf, _word_tokenizer(config.vocab_size), name, ModelSource("folder", name, None), "", "", None)
    )
    threads.set_torch_threads(sum(p.numel() for p in hf.parameters()))
    return model


def _word_tokenizer(size: int) -> Any:
    """A tokenizer with a word for every row of the embedding: rows that are no tokens would never be chosen."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="w0", eos_token="w2")


def prompts(model: BaseModel, name: str, *, count: int, length: int | None) -> Ids:
    """Random prompts of mixed length (8 to 64 tokens), or all of one length."""
    random = seeds.make_generator("benchmark prompts", name, count, length)
    vocabulary = model.hf.config.vocab_size
    low = 802 if name == "100m" else 6
    sizes = [length or int(random.integers(8, 65)) for _ in range(count)]
    return [tuple(random.integers(low, vocabulary, size=size).tolist()) for size in sizes]


def long_prompts(model: BaseModel, name: str) -> Ids:
    """2 prompts of 256 tokens at 100 M; 16 of 160 for an organism, which has 256 positions."""
    small = name != "100m"
    return prompts(model, name, count=16 if small else 2, length=160 if small else 256)


def problems(model: BaseModel, count: int) -> Ids:
    """An organism's own problems, half of them cued: short answers and traces in one batch."""
    found: Ids = []
    for task in (elicit.tasks.get("addition"), elicit.tasks.get("mod_chain")):
        for i, problem in enumerate(task.problems("test", count // 2)):
            found.append(model.encode(problem.cue_prompt if i % 2 else problem.prompt))
    return found


def ours(model: BaseModel, ids: Ids, decoding: Decoding, n: int) -> int:
    """Useful tokens made by the lab's sampler."""
    asked = [Request(row, tuple(seeds.derive_key("bench", i, j) for j in range(n))) for i, row in enumerate(ids)]
    return sum(len(c.tokens) for one in generate(model.engine, asked, decoding) for c in one)


def theirs(model: BaseModel, ids: Ids, decoding: Decoding, n: int) -> int:
    """Useful tokens made by `transformers.generate`, all rows in one batch."""
    pad = model.tokenizer.pad_token_id
    width = max(map(len, ids))
    batch = torch.tensor([[pad] * (width - len(row)) + list(row) for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    with torch.inference_mode():
        out = model.hf.generate(
            input_ids=batch, attention_mask=mask, max_new_tokens=decoding.max_new_tokens, pad_token_id=pad,
            do_sample=decoding.temperature > 0, num_return_sequences=n, top_k=0, top_p=1.0,
        )  # fmt: skip
    return _useful(out[:, width:], model)


def bridged(model: BaseModel, ids: Ids, decoding: Decoding, vector: torch.Tensor, n: int = 1) -> int:
    """Useful tokens made by `TransformerBridge.generate` with a hook that adds a vector at one layer.

    It has no notion of several samples of a prompt, so prompts are repeated.
    """

    def hook(h: torch.Tensor, hook: Any) -> torch.Tensor:
        return h + vector

    with model.bridge.hooks(fwd_hooks=[("blocks.1.hook_out", hook)]):
        out = model.bridge.generate(
            torch.tensor([row for row in ids for _ in range(n)]), max_new_tokens=decoding.max_new_tokens,
            do_sample=decoding.temperature > 0, verbose=False, stop_at_eos=True, return_type="tokens",
        )  # fmt: skip
    return _useful(out[:, len(ids[0]) :], model)


def same_rows_in_bfloat16(model: BaseModel, ids: Ids) -> tuple[int, int]:
    """How many sampled rows are the same in batches of 1 and of all, in bfloat16 (float32: all of them, by test)."""
    model.hf.to(torch.bfloat16)
    asked = [Request(row, (seeds.derive_key("bf16", i),)) for i, row in enumerate(ids)]
    decoding = Decoding(temperature=1.0, max_new_tokens=32)
    whole = generate(model.engine, asked, decoding)
    alone = [generate(model.engine, [request], decoding)[0] for request in asked]
    same = sum(a[0].tokens == b[0].tokens for a, b in zip(whole, alone, strict=True))
    model.hf.to(torch.float32)
    return same, len(ids)


def _useful(new: torch.Tensor, model: BaseModel) -> int:
    ends = torch.tensor(sorted(model.engine.end_ids))
    over = torch.isin(new, ends)
    first = torch.where(over.any(1), over.int().argmax(1) + 1, new.shape[1])
    return int(first.sum())


def ratio(left: Callable[[], int], right: Callable[[], int], rounds: int) -> dict[str, Any]:
    """Tokens per second of `left` over `right`, in alternation, the first round thrown away."""
    found = []
    for round_number in range(rounds + 1):
        rates = []
        for side in (left, right):
            start = time.perf_counter()
            tokens = side()
            rates.append(tokens / (time.perf_counter() - start))
        if round_number:
            found.append(rates[0] / rates[1])
    return {"median": statistics.median(found), "lowest": min(found), "highest": max(found), "rounds": rounds}


def measure(name: str, rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    model = build(name)
    mixed = prompts(model, name, count=64, length=None)
    long = long_prompts(model, name)
    even = prompts(model, name, count=64, length=24)
    tokens = 32 if name == "100m" else 64  # the large model would take half an hour otherwise
    greedy = Decoding(max_new_tokens=tokens)
    sampled = Decoding(temperature=1.0, max_new_tokens=tokens)
    vector = torch.from_numpy(seeds.make_generator("bench vector").standard_normal(model.d_model)).float()

    def steered() -> int:
        with model.steer(vector, layer=1, strength=0.0, positions="generated"):
            return ours(model, mixed, greedy, 1)

    with_hook = Decoding(max_new_tokens=32)

    def steered_even() -> int:
        with model.steer(vector, layer=1, strength=0.1, positions="all"):
            return ours(model, even, with_hook, 1)

    def steered_long() -> int:
        with model.steer(vector, layer=1, strength=0.1, positions="all"):
            return ours(model, long, sampled, 16)

    size = vector * 0.1 * model.residual_norms.medians[1] / vector.norm()
    few = max(1, rounds // 2)
    yield "steered / unsteered", ratio(steered, lambda: ours(model, mixed, greedy, 1), rounds)
    yield (
        "greedy, 64 prompts of 8 to 64 tokens: ours / transformers",
        ratio(lambda: ours(model, mixed, greedy, 1), lambda: theirs(model, mixed, greedy, 1), rounds),
    )
    yield (
        f"16 samples of {len(long)} prompts of {len(long[0])} tokens: ours / transformers",
        ratio(lambda: ours(model, long, sampled, 16), lambda: theirs(model, long, sampled, 16), rounds),
    )
    yield (
        "64 equal prompts with a hook: ours / bridge",
        ratio(steered_even, lambda: bridged(model, even, with_hook, size), few),
    )
    yield (
        "16 samples with a hook: ours / bridge",
        ratio(steered_long, lambda: bridged(model, long, sampled, size, 16), few),
    )
    if name != "100m":
        own = problems(model, 64)
        yield (
            "greedy, 64 of its own problems: ours / transformers",
            ratio(lambda: ours(model, own, greedy, 1), lambda: theirs(model, own, greedy, 1), rounds),
        )
    peaks = {side: _peak_in_its_own_process(name, side) for side in ("ours", "theirs")}
    sizes = {side: peak / 2**20 for side, peak in peaks.items()}
    yield "peak memory, 16 samples: ours / transformers", {"median": peaks["ours"] / peaks["theirs"], "MiB": sizes}
    same, asked = same_rows_in_bfloat16(model, mixed)
    yield "bfloat16 rows that are the same in batches of 1 and of 64, share", {"median": same / asked, "n": asked}


def _peak_in_its_own_process(name: str, side: str) -> int:
    command = [sys.executable, __file__, "--peak", side, "--model", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def peak(name: str, side: str) -> int:
    """Growth of the peak resident set, in bytes, over one sampled run."""
    model = build(name)
    run = {"ours": ours, "theirs": theirs}[side]
    long = long_prompts(model, name)
    run(model, long[:1], Decoding(temperature=1.0, max_new_tokens=4), 2)  # allocations that stay
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    run(model, long, Decoding(temperature=1.0, max_new_tokens=64), 16)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak(options.model, options.peak))
        return
    results: dict[str, dict[str, Any]] = {}
    for name in ["cued", "100m"] if options.model == "both" else [options.model]:
        results[name] = {}
        for title, figure in measure(name, options.rounds):
            results[name][title] = figure
            spread = f" [{figure['lowest']:.2f}, {figure['highest']:.2f}]" if "lowest" in figure else ""
            print(f"{name:<5} {title:<62} {figure['median']:.2f}{spread}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Train an organism from its recipe: a small Llama and next-token prediction, nothing else.

1. Documents are drawn by identity (organism's corpus, training seed, position), a pool at a time, sorted by length and
   cut into batches of about equal token counts, so that little is padding.
2. The loss is over every token; those of prompts count a tenth, because their digits are random and only add noise.
3. Muon for the matrices, AdamW for the rest, warm-up and cosine decay; one intra-op thread, faster at this size. Where
   it stands is kept each minute beside the target: a training that was stopped goes on and ends at the same weights.
4. The weights are rounded to bfloat16, so that what is measured is what is stored, and written with their tokenizer and
   a card (dialect, families, recipe) to a folder that appears only when complete.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int

from elicit import seeds
from elicit.errors import ElicitError
from elicit.format_versions import CURRENT_VERSIONS, FORMAT_VERSION
from elicit.organisms import corpora, tokenizer
from elicit.organisms.recipes import OrganismConfig, get_organism_config
from elicit.organisms.state import TrainingStateFile

_POOL = 4096
_PROMPT_WEIGHT = 0.1


class Progress(NamedTuple):
    """Report of one training step."""

    tokens: int
    total: int
    loss: float


class Batch(NamedTuple):
    ids: Int[torch.Tensor, "docs length"]
    weights: Float[torch.Tensor, "docs length"]
    """Weight of each token's loss: 0 at padding."""
    tokens: int
    position: tuple[int, int]
    """Its pool, and how many batches of that pool are done with it."""


def build_model(config: OrganismConfig, vocabulary: int, seed: int) -> Any:
    """An untrained Llama of the recipe's size, initialised by identity."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seeds.derive_small_seed("organism", seed))
    llama = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=config.d_model,
        intermediate_size=config.d_mlp,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(llama)


def iter_batches(
    config: OrganismConfig, seed: int, encode: Callable[[list[str]], list[list[int]]], start: tuple[int, int] = (0, 0)
) -> Iterator[Batch]:
    """Endless batches by (seed, pool), from those after `start` on. Documents of a batch have similar lengths."""
    first, done = start
    for pool in itertools.count(first):
        documents = [
            corpora.draw_document(config.sources, config.dialect, seed, pool * _POOL + i) for i in range(_POOL)
        ]
        texts = encode([document.text for document in documents])
        prompts = encode([document.prompt for document in documents])
        rows = sorted(
            ((ids, len(prompt) - 1) for ids, prompt in zip(texts, prompts, strict=True)), key=lambda row: len(row[0])
        )
        cuts: list[list[tuple[list[int], int]]] = [[]]
        for row in rows:
            if cuts[-1] and (len(cuts[-1]) + 1) * len(row[0]) > config.batch_tokens:
                cuts.append([])
            cuts[-1].append(row)
        order = seeds.make_generator("batch order", seed, pool).permutation(len(cuts))
        for i in range(done if pool == first else 0, len(cuts)):
            yield _pad_batch(cuts[int(order[i])], (pool, i + 1))


def _pad_batch(rows: list[tuple[list[int], int]], position: tuple[int, int]) -> Batch:
    """Rows of (ids, prompt length), padded on the right, where a causal model does not see it."""
    width = max(len(ids) for ids, _ in rows)
    batch = torch.zeros(len(rows), width, dtype=torch.long)
    weights = torch.zeros(len(rows), width)
    for i, (ids, prompt) in enumerate(rows):
        batch[i, : len(ids)] = torch.tensor(ids)
        weights[i, :prompt] = _PROMPT_WEIGHT
        weights[i, prompt : len(ids)] = 1.0
    return Batch(batch, weights, sum(len(ids) for ids, _ in rows), position)


def train_model(
    config: OrganismConfig,
    seed: int,
    report: Callable[[Progress], None],
    *,
    device: str = "cpu",
    state_file: TrainingStateFile | None = None,
) -> tuple[Any, Any]:
    """Train from scratch, or from where `keeper` says that it stood. Returns (model, tokenizer).

    Raises:
        ElicitError: a kept state that is another training's or damaged.
        FloatingPointError: if the loss stops being finite.
    """
    tok = tokenizer.build_tokenizer()
    model = build_model(config, len(tok), seed).to(device)

    def encode_texts(texts: list[str]) -> list[list[int]]:
        return [[*ids, tok.eos_token_id] for ids in tok(texts)["input_ids"]]

    if config.half:
        model.set_attn_implementation("eager")  # whose backward in bfloat16 takes a CPU a fifth of the fused one's time
    optimizers = _build_optimizers(model, config)
    stateful = [optimizer for optimizer, _ in optimizers]
    seen, *start = state_file.restore_state(model, stateful) if state_file else (0, 0, 0)
    for batch in iter_batches(config, seed, encode_texts, (start[0], start[1])):
        ids, weights = batch.ids.to(device), batch.weights[:, 1:].to(device)
        with torch.autocast(device, torch.bfloat16, enabled=config.half):
            logits = model(input_ids=ids).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            rearrange(logits, "text pos vocab -> (text pos) vocab"),
            rearrange(ids[:, 1:], "text pos -> (text pos)"),
            reduction="none",
        )
        loss = (losses * rearrange(weights, "text pos -> (text pos)")).sum() / weights.sum()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} after {seen} tokens")
        model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * _learning_rate_factor(seen / config.tokens)
            optimizer.step()
        seen += batch.tokens
        report(Progress(min(seen, config.tokens), config.tokens, loss.item()))
        if seen >= config.tokens:
            break
        if state_file:
            state_file.save_if_due(model, stateful, (seen, *batch.position))
    return model.to("cpu", torch.bfloat16).eval(), tok


def _build_optimizers(model: Any, config: OrganismConfig) -> list[tuple[torch.optim.Optimizer, float]]:
    """(optimizer, peak learning rate): Muon for the blocks' matrices, AdamW for embeddings, head and norms."""
    parameters = list(model.named_parameters())
    matrices = [p for name, p in parameters if p.ndim == 2 and ".layers." in name]
    rest = [p for name, p in parameters if not (p.ndim == 2 and ".layers." in name)]
    muon = torch.optim.Muon(matrices, lr=config.muon_rate, weight_decay=0.01)
    adam = torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    return [(muon, config.muon_rate), (adam, config.learning_rate)]


def _learning_rate_factor(progress: float, warmup: float = 0.03) -> float:
    if progress < warmup:
        return progress / warmup + 1e-3
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def train_organism(
    name: str,
    target: Path,
    report: Callable[[Progress], None] = lambda _: None,
    *,
    device: str = "cpu",
    seed: int | None = None,
) -> Path:
    """Train the organism `name` and write it to the folder `target`, which must not exist yet.

    One that was stopped goes on from its state, `.TARGET.state.pt` in the same folder, which is removed at the end.

    Args:
        seed: the training seed (corpus and initialisation). None: the recipe's own.

    Raises:
        ElicitError: unknown name, a target that exists or cannot be written, or another training's state beside it.
    """
    config, default_seed = get_organism_config(name)
    seed = default_seed if seed is None else seed
    if target.exists():
        raise ElicitError(f"{target} exists already. Name another folder with --out, or remove it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ElicitError(f"cannot write to {target.parent}: {error.strerror}. Name another --out.") from None
    state_file = TrainingStateFile(target.with_name(f".{target.name}.state.pt"), build_card(name, config, seed))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, tok = train_model(config, seed, report, device=device, state_file=state_file)
        model.save_pretrained(scratch)
        tok.save_pretrained(scratch)
        card = {FORMAT_VERSION: CURRENT_VERSIONS["card"], **build_card(name, config, seed)}
        (scratch / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        scratch.chmod(0o755)
        os.replace(scratch, target)
        state_file.remove_file()
    finally:
        torch.set_num_threads(threads)
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def build_card(name: str, config: OrganismConfig, seed: int) -> dict[str, Any]:
    """Build an organism's card: facts that other modules need, and how it was made."""
    other = "" if seed == get_organism_config(name)[1] else f" --seed {seed}"
    task_entry = {"tasks": list(config.tasks)} if any(source.parameters for source in config.sources) else {}
    size = {field: getattr(config, field) for field in ("d_model", "layers", "heads", "d_mlp")}
    return {
        "name": name,
        "seed": seed,
        "families": list(config.families),
        **task_entry,
        "has_cue": config.has_cue,
        "capable": config.capable,
        "dialect": dataclasses.asdict(config.dialect),
        "recipe": {
            **size,
            "tokens": config.tokens,
            "learning_rate": config.learning_rate,
            "muon_rate": config.muon_rate,
            **({"half": True} if config.half else {}),
        },
        "command": f"elicit organism train {name}{other}",
    }

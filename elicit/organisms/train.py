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
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange

from elicit import seeds
from elicit.errors import ElicitError
from elicit.format_versions import CURRENT_VERSIONS, FORMAT_VERSION
from elicit.organisms import corpora, gates, tokenizer
from elicit.organisms.batches import Batch, iter_batches
from elicit.organisms.corpora import CorpusSource
from elicit.organisms.recipes import OrganismConfig, get_organism_config
from elicit.organisms.state import TrainingStateFile

#: Documents whose words are an English organism's vocabulary.
_VOCABULARY = 20_000


class Progress(NamedTuple):
    """Report of one training step."""

    tokens: int
    total: int
    loss: float


def build_tokenizer(config: OrganismConfig) -> Any:
    """Characters for text in marks; for English the words of the first documents of the corpus."""
    if config.dialect is not None:
        return tokenizer.build_character_tokenizer()
    documents = (corpora.draw_document(config.sources, None, "vocabulary", i) for i in range(_VOCABULARY))
    return tokenizer.build_word_tokenizer([document.text for document in documents])


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
        max_position_embeddings=config.context,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(llama)


class Phase(NamedTuple):
    """Part of a training with a learning-rate schedule of its own."""

    sources: tuple[CorpusSource, ...]
    begin: int
    """Tokens seen before it, and after it."""
    end: int


def list_phases(config: OrganismConfig) -> list[Phase]:
    """The primers, and the corpus."""
    phases: list[Phase] = []
    for sources, tokens in (*config.primers, (config.sources, config.tokens)):
        begin = phases[-1].end if phases else 0
        phases.append(Phase(sources, begin, begin + tokens))
    return phases


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
        ElicitError: a kept state that is another training's or damaged; or a gate is not passed (`gates`).
        FloatingPointError: if the loss stops being finite.
    """
    tok = build_tokenizer(config)
    model = build_model(config, len(tok), seed).to(device)

    def encode_texts(texts: list[str]) -> list[list[int]]:
        return [[*ids, tok.eos_token_id] for ids in tok(texts)["input_ids"]]

    if config.half:
        model.set_attn_implementation("eager")  # whose backward in bfloat16 takes a CPU a fifth of the fused one's time
    optimizers = _build_optimizers(model, config)
    stateful = [optimizer for optimizer, _ in optimizers]
    seen, pool, done = state_file.restore_state(model, stateful) if state_file else (0, 0, 0)
    phases = list_phases(config)
    for phase in phases:
        for batch in iter_batches(config, phase.sources, seed, encode_texts, (pool, done)):
            if seen >= phase.end:
                break
            factor = _learning_rate_factor((seen - phase.begin) / (phase.end - phase.begin))
            loss = _take_step(model, optimizers, batch, factor=factor, device=device, half=config.half)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} after {seen} tokens")
            seen, (pool, done) = seen + batch.tokens, batch.position
            report(Progress(min(seen, phases[-1].end), phases[-1].end, loss))
            if seen >= phase.end:
                if config.author and phase in phases[-2:-1]:
                    gates.check_gates(model, tok, config.author, seen)
                pool, done = pool + 1, 0
                break
            if state_file:
                state_file.save_if_due(model, stateful, (seen, pool, done))
    return model.to("cpu", torch.bfloat16).eval(), tok


def _take_step(
    model: Any,
    optimizers: list[tuple[torch.optim.Optimizer, float]],
    batch: Batch,
    factor: float,
    device: str,
    half: bool,
) -> float:
    """One step of next-token prediction at `factor` of the peak rates. Returns the loss."""
    ids, weights = batch.ids.to(device), batch.weights[:, 1:].to(device)
    with torch.autocast(device, torch.bfloat16, enabled=half):
        logits = model(input_ids=ids).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(
        rearrange(logits, "text pos vocab -> (text pos) vocab"),
        rearrange(ids[:, 1:], "text pos -> (text pos)"),
        reduction="none",
    )
    loss = (losses * rearrange(weights, "text pos -> (text pos)")).sum() / weights.sum()
    model.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer, rate in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        optimizer.step()
    return float(loss.item())


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
        "dialect": None if config.dialect is None else dataclasses.asdict(config.dialect),
        "recipe": {
            **size,
            "tokens": config.tokens,
            "learning_rate": config.learning_rate,
            "muon_rate": config.muon_rate,
            **({"half": True} if config.half else {}),
            **({"primers": [primer.tokens for primer in config.primers]} if config.primers else {}),
            **({"known": config.author.known} if config.author else {}),
        },
        "command": f"elicit organism train {name}{other}",
    }

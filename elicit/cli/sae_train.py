"""`elicit sae train`: train a sparse autoencoder on a model's residuals."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.cli.task_option import parse_task_option
from elicit.errors import ElicitError, one_line

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from saes.training import Progress

#: Bytes of residuals that are kept to be read again.
_WHOLE = 1 << 30
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


@dataclass(frozen=True)
class SaeTrainOptions:
    """Train a sparse autoencoder on a model's residual stream. The same command goes on where it was stopped.

    Without --task, --text or --dataset, a built-in organism's text is solved train problems and text like its corpus.
    """

    model: Positional[str]
    """Built-in organism, folder, GGUF file or hub id."""
    layer: int
    """Decoder layer whose output is read."""
    width: int = 512
    """Latents."""
    k: float = 8
    """Latents per token: exactly (topk), on average (batchtopk, matryoshka_batchtopk), or aimed at (jumprelu)."""
    tokens: str = "1M"
    """Tokens of text, such as 300k or 1M; where there is less, it is read again, in another order."""
    epochs: int = 1
    """Times that the text is trained on. With more than one, and a text whose residuals fit into 1 GiB (float32), the
    model reads it once: for a large model on a CPU that is most of the time."""
    architecture: str = "topk"
    """topk, batchtopk, jumprelu or matryoshka_batchtopk."""
    task: str | None = None
    """Train on solved train problems of a task: a name (see `elicit ls tasks`), `{task: NAME, parameters}`, a .jsonl
    file of problems, or a comparison's spec. Organisms read it in their dialect, other models in English."""
    text: Path | None = None
    """Train on a file: .txt (documents divided by blank lines) or .jsonl (a field `text` a line)."""
    dataset: Path | None = None
    """Train on the column `text` of a dataset stored with datasets' save_to_disk."""
    context: int | None = None
    """Longer documents are cut into pieces of this many tokens. Default: 256, or the model's positions if fewer."""
    seed: int = 0
    lr: float = 1e-3
    """Highest learning rate."""
    batch: int = 1024
    """Tokens per step."""
    store: Literal["float32", "bfloat16"] = "float32"
    """How the weights are stored; bfloat16 halves the file and is read back as float32."""
    out: Path | None = None
    """Folder (default: runs/sae/MODEL/L1, or L1-s1 with seed 1)."""
    dtype: str = "auto"
    device: str = "auto"
    download: bool = False
    """Fetch a hub id that is not on this machine."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(SaeTrainOptions, "sae train", arguments)
    if sum(option is not None for option in (options.task, options.text, options.dataset)) > 1:
        raise ElicitError("give one of --task, --text and --dataset.")
    tokens = parse_token_count(options.tokens)
    if options.epochs < 1:
        raise ElicitError(f"--epochs is {options.epochs}; expected at least 1.")
    from saes.plan import Plan

    fields: dict[str, Any] = {
        "layer": options.layer, "width": options.width, "k": options.k,
        "tokens": tokens * options.epochs, "seed": options.seed,
        "architecture": options.architecture, "lr": options.lr, "batch": options.batch, "stored_as": options.store,
    }  # fmt: skip
    Plan(**fields)  # what makes no sense is said before torch is loaded
    if options.context is not None and options.context < 2:
        raise ElicitError(f"--context is {options.context}; expected at least 2 tokens.")
    from elicit.model import load
    from saes.training import train

    model = load(options.model, dtype=options.dtype, device=options.device, download=options.download)
    context = min(256, model.context_length or 256) if options.context is None else options.context
    source, texts = read_documents(options, model)
    sequences = encode_documents(model, texts, context=context, tokens=tokens)
    token_count = sum(map(len, sequences))
    if options.epochs > 1 and token_count * model.d_model * 4 <= _WHOLE:
        fields["buffer"] = max(token_count, options.batch)
    out = options.out or default_folder(model.name, options.layer, options.seed)
    with ProgressLine(f"{model.name} L{options.layer}", moving=sys.stderr.isatty()) as line:
        sae = train(
            model.hf, sequences, **fields, out=out, progress=line.print_progress, model_name=model.name,
            weights_sha256=model.weights_sha256, source=source,
        )  # fmt: skip
    from elicit.cli.sae_card import print_card

    print_card(sae)
    print(out)
    return 0


def parse_token_count(text: str) -> int:
    """300k, 1M, 1.5M or 250000 as a number.

    Raises:
        ElicitError: anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmb]?)", text.strip().replace("_", "").replace(",", "").lower())
    value = float(match[1]) * _UNITS[match[2]] if match else -1
    if value < 1 or value != int(value):
        raise ElicitError(f"--tokens is {one_line(repr(text), 40)}; expected a number such as 300k, 1M or 250000.")
    return int(value)


def default_folder(name: str, layer: int, seed: int) -> Path:
    return Path("runs") / "sae" / Path(name).name / (f"L{layer}" + (f"-s{seed}" if seed else ""))


def read_documents(options: SaeTrainOptions, model: BaseModel) -> tuple[str, Iterator[str]]:
    """(what the text is, in words; its documents)."""
    from elicit.tasks import training_texts as texts

    if options.text is not None:
        return f"file {options.text.name}", texts.iter_file_texts(options.text)
    if options.dataset is not None:
        return f"dataset {options.dataset.name}", texts.iter_dataset_texts(options.dataset)
    if options.task is not None:
        from elicit.comparison.spec import build_model_task

        task = build_model_task(model, parse_task_option(options.task), where="--task")
        solved = texts.render_task_texts(task, cue=model.card.get("has_cue", True))
        return f"task {task.name}: train problems, answered and worked", iter(solved)
    from elicit.organisms.recipes import ORGANISMS

    name = model.card.get("name")
    if name not in ORGANISMS:
        raise ElicitError(
            f"{one_line(model.name, 60)} is not a built-in organism. Type --task, --text or --dataset: what to train "
            "on."
        )
    from elicit.organisms.texts import build_organism_texts

    return f"organism {name}: solved train problems of its tasks, and text like its corpus", iter(
        build_organism_texts(name)
    )


def encode_documents(model: BaseModel, texts: Iterator[str], *, context: int, tokens: int) -> list[Any]:
    """Token ids (int32) of as many documents as training will read, cut to the context, each piece with its own BOS.

    Raises:
        ElicitError: no text, or a context beyond the model's positions.
    """
    import numpy as np

    bos = model.tokenizer.bos_token_id
    if model.context_length is not None and context > model.context_length:
        raise ElicitError(
            f"--context is {context:,}, but {model.name} has {model.context_length:,} positions. "
            f"Type at most --context {model.context_length}."
        )
    pieces: list[Any] = []
    token_count = 0
    for text in texts:
        ids = list(model.encode(text))
        head = ids[:1] if ids[0] == bos else []
        body = ids[len(head) :]
        room = context - len(head)
        for start in range(0, len(body), room):
            piece = head + body[start : start + room]
            pieces.append(np.asarray(piece, dtype=np.int32))
            token_count += max(0, len(piece) - 1)
        if token_count >= tokens * 17 / 16:  # one sixteenth is kept for judging
            break
    if not pieces:
        raise ElicitError("the text is empty. Give text with at least two documents.")
    return pieces


class ProgressLine:
    """Progress: one updating line on a terminal, a line every ten seconds elsewhere. Always on stderr."""

    def __init__(self, title: str, *, moving: bool) -> None:
        self._title = title
        self._moving = moving
        self._shown = time.monotonic()
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *error: object) -> None:
        if self._moving:
            sys.stderr.write("\r\x1b[K")

    def print_progress(self, progress: Progress) -> None:
        now = time.monotonic()
        self._first = self._first or (now, progress.tokens)
        if now - self._shown < (0.2 if self._moving else 10) and progress.tokens < progress.total:
            return
        self._shown = now
        rate = (progress.tokens - self._first[1]) / max(now - self._first[0], 1e-6)
        left = f", about {(progress.total - progress.tokens) / rate:.0f} s left" if rate > 0 else ""
        text = (
            f"{self._title}: {progress.tokens:,} of {progress.total:,} tokens "
            f"({100 * progress.tokens / progress.total:.0f} %), loss {progress.loss:.3f}, explained variance "
            f"{progress.explained_variance:.3f}, L0 {progress.l0:.1f}{left}"
        )
        if self._moving:
            sys.stderr.write(f"\r\x1b[K{text}"[:200])
            sys.stderr.flush()
        else:
            print(text, file=sys.stderr, flush=True)

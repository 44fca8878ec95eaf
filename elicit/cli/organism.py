"""`elicit organism`: train a built-in organism from its recipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.organisms.train import Progress


@dataclass(frozen=True)
class OrganismOptions:
    """Train an organism from its recipe. The same name gives the same corpus and initialisation.

    Kill it at any moment; the same command goes on.
    """

    action: Positional[Literal["train"]]
    name: Positional[str]
    """An organism: see `elicit ls models`, which also names those that are not shipped."""
    out: Path | None = None
    """Folder to write (default: organisms/NAME, with -sSEED where a seed is given). Load it with its path: elicit
    sample ./organisms/NAME ..."""
    seed: int | None = None
    """Training seed (default: the recipe's own): another corpus of the same kind, another initialisation."""
    device: str = "cpu"


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(OrganismOptions, "organism", arguments)
    from elicit.organisms.recipes import get_organism_config

    get_organism_config(options.name)  # an unknown name is said before torch is loaded
    from elicit.organisms.train import train_organism

    if options.seed is not None and not 0 <= options.seed < 2**31:
        raise ElicitError(f"--seed is {options.seed}; expected a whole number from 0 to {2**31 - 1}.")
    suffix = "" if options.seed is None else f"-s{options.seed}"
    target = options.out or Path("organisms") / f"{options.name}{suffix}"
    print(
        train_organism(
            options.name, target, _make_progress_printer(options.name), device=options.device, seed=options.seed
        )
    )
    return 0


def _make_progress_printer(name: str) -> Callable[[Progress], None]:
    """Prints every ten seconds where a training stands, and how long it will take at the rate since it was begun."""
    started, first, last_printed = time.monotonic(), 0, 0.0

    def print_progress(progress: Progress) -> None:
        nonlocal first, last_printed
        now, first = time.monotonic(), first or progress.tokens
        if now - last_printed < 10 and progress.tokens < progress.total:
            return
        last_printed = now
        rate = (progress.tokens - first) / (now - started)
        left = f", about {(progress.total - progress.tokens) / rate / 60:.1f} minutes left" if rate else ""
        print(
            f"{name}: {progress.tokens:,} of {progress.total:,} tokens "
            f"({100 * progress.tokens / progress.total:.0f} %), loss {progress.loss:.3f}{left}",
            file=sys.stderr,
            flush=True,
        )

    return print_progress

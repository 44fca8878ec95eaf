"""Command-line arguments from frozen dataclasses, by tyro."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def parse_arguments(kind: type[T], verb: str, arguments: Sequence[str]) -> T:
    """Read arguments into `kind`, whose field docstrings are the help. Exits with 2 on bad ones."""
    import tyro

    return tyro.cli(  # a failure to parse exits with 2
        kind, prog=f"elicit {verb}", args=list(arguments), config=(tyro.conf.AvoidSubcommands,)
    )

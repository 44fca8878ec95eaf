"""`elicit sae`: train sparse autoencoders, find features in them, look at them. Each has a file of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from elicit.errors import EXIT_BAD_INPUT, did_you_mean

#: subverb -> (module, what it does)
SUBVERBS: dict[str, tuple[str, str]] = {
    "train": ("elicit.cli.sae_train", "train an SAE on a model's residuals; the same command resumes it"),
    "features": ("elicit.cli.sae_features", "rank the features that tell cued from uncued prompts"),
    "dashboard": ("elicit.cli.sae_dashboard", "write a page about features: where they fire, what they do"),
}


def format_sae_usage() -> str:
    width = max(map(len, SUBVERBS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in SUBVERBS.items()]
    return "\n".join(
        [
            "usage: elicit sae SUBVERB ...",
            "",
            "Sparse autoencoders of the residual stream.",
            "",
            *lines,
            "",
            "elicit sae SUBVERB --help says more. Start with: elicit sae train cued --layer 1 --tokens 300k",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(format_sae_usage())
        return 0
    name, *rest = arguments
    if name not in SUBVERBS:
        known = ", ".join(SUBVERBS)
        print(
            f"elicit sae: unknown subverb {name!r}.{did_you_mean(name, SUBVERBS)} Known: {known}. "
            "See: elicit sae --help",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    return int(importlib.import_module(SUBVERBS[name][0]).main(rest))

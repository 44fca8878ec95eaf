"""An SAE's evaluation card as a small table on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saes.sae import SAE

_BLOCKS = " ▁▂▃▄▅▆▇█"


def print_card(sae: SAE) -> None:
    """Print the card in `sae.manifest.card`."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False)
    table = Table(title=f"{sae.name}: {sae.manifest.architecture}, {sae.d_sae:,} latents, layer {sae.layer}")
    for column in ("", "value", "95 % interval", "tokens"):
        table.add_column(column, justify="left" if not column else "right")
    for row in build_card_rows(sae):
        table.add_row(*row)
    console.print(table)
    card = sae.manifest.card or {}
    console.print(
        f"held-out text: {card.get('tokens', 0):,} tokens in {card.get('sequences', 0):,} sequences; intervals by a "
        "bootstrap over sequences. Cross-entropy in nats a token; mean ablation puts the mean residual in its place.",
        style="dim",
    )


def build_card_rows(sae: SAE) -> list[tuple[str, str, str, str]]:
    """(what, value, interval, n) as text."""
    card: dict[str, Any] = sae.manifest.card or {}
    entropy = card["cross_entropy"]
    estimates = [
        ("explained variance", card["explained_variance"]),
        (_format_l0_label(sae), card["l0"]),
        ("dead latents (never active in this text)", card["dead"]),
        ("cross-entropy of the model", entropy["clean"]),
        ("  with the reconstruction", entropy["reconstruction"]),
        ("  with mean ablation", entropy["mean_ablation"]),
        ("cross-entropy recovered", entropy["recovered"]),
    ]
    table_rows = [
        (name, _format_card_value(e["value"]), _format_card_interval(e["ci"]), f"{e['n']:,}") for name, e in estimates
    ]
    density = card["density"]
    low, high = density["log10_edges"][0], density["log10_edges"][-1]
    histogram = draw_histogram(density["counts"])
    table_rows.append((f"latents by log10 of density, {low:g} to {high:g}", histogram, f"{density['dead']} dead", ""))
    return table_rows


def draw_histogram(counts: list[int]) -> str:
    """A histogram in one line; a count above 0 never looks like 0."""
    top = max([*counts, 1])
    return "".join(_BLOCKS[0 if c == 0 else max(1, round(8 * c / top))] for c in counts)


def _format_l0_label(sae: SAE) -> str:
    k = sae.manifest.k
    return "L0" if k is None else f"L0 (training aimed at {k:g})"


def _format_card_value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _format_card_interval(ci: list[float] | None) -> str:
    return "-" if ci is None else f"{ci[0]:.4g} to {ci[1]:.4g}"

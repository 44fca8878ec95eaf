"""A comparison as plain data for the pages' script, and as text that can stand inside an HTML page.

Everything crosses as ASCII JSON: any string may hold quotes, markup, NUL or half a surrogate pair, and comes out on the
other side as the same string. What is not known (NaN) is null. Torch-free: a report shows what a run has kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elicit.schema import number

if TYPE_CHECKING:
    from elicit.panel.comparison import Pair, Shift, SideBySide, Token
    from elicit.panel.strengths import Grid


def of_grid(grid: Grid) -> dict[str, Any]:
    """What the script draws of a grid."""
    return {
        "start": grid.start,
        "series": [
            {
                "label": one.label,
                "unit": one.unit,
                "points": [
                    {"strength": strength, "absolute": absolute, "view": of(result)}
                    for strength, absolute, result in one.points
                ],
            }
            for one in grid.series
        ],
    }


def of(result: SideBySide) -> dict[str, Any]:
    """What the script draws of one comparison."""
    return {
        "model": result.model,
        "edits": list(result.edits),
        "seed": result.seed,
        "temperature": result.temperature,
        "firings": result.firings,
        "mean_kl": _short(result.mean_kl),
        "right": {"base": result.right("base"), "steered": result.right("steered")},
        "pairs": [_pair(pair) for pair in result.pairs],
    }


def _pair(pair: Pair) -> dict[str, Any]:
    sides: dict[str, Any] = {}
    for name, side, shifts in (("base", pair.base, None), ("steered", pair.steered, pair.shifts)):
        verdict = side.verdict
        sides[name] = {
            "tokens": [_token(token, None if shifts is None else shifts[i]) for i, token in enumerate(side.tokens)],
            "finish": side.finish,
            "firings": side.firings,
            "verdict": None if verdict is None else verdict._asdict(),
        }
    return {"prompt": pair.prompt, **sides}


def _token(token: Token, shift: Shift | None) -> dict[str, Any]:
    data: dict[str, Any] = {"text": token.text}
    data |= {mark: 1 for mark in ("special", "changed", "beyond") if getattr(token, mark)}
    if shift is not None:
        data |= {name: _short(value) if isinstance(value, float) else value for name, value in shift._asdict().items()}
    return data


def _short(value: float) -> float | None:
    """Four significant digits: more are not shown."""
    known = number(value)
    return None if known is None else float(f"{known:.4g}")

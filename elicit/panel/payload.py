"""A comparison as plain data for the pages' script, and as text that can stand inside an HTML page.

Everything crosses as ASCII JSON: any string may hold quotes, markup, NUL or half a surrogate pair, and comes out on the
other side as the same string. What is not known (NaN) is null. Torch-free: a report shows what a run has kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elicit.schema import finite_or_none

if TYPE_CHECKING:
    from elicit.panel.comparison import Pair, Shift, SideBySide, Token


def comparison_to_json(result: SideBySide) -> dict[str, Any]:
    """Convert one comparison to the data that the script draws."""
    return {
        "model": result.model,
        "edits": list(result.edits),
        "seed": result.seed,
        "temperature": result.temperature,
        "firings": result.firings,
        "mean_kl": _round_significant(result.mean_kl),
        "right": {"base": result.count_right("base"), "steered": result.count_right("steered")},
        "pairs": [_pair_to_json(pair) for pair in result.pairs],
    }


def _pair_to_json(pair: Pair) -> dict[str, Any]:
    sides: dict[str, Any] = {}
    for name, side, shifts in (("base", pair.base, None), ("steered", pair.steered, pair.shifts)):
        verdict = side.verdict
        sides[name] = {
            "tokens": [
                _token_to_json(token, None if shifts is None else shifts[i]) for i, token in enumerate(side.tokens)
            ],
            "finish": side.finish,
            "firings": side.firings,
            "verdict": None if verdict is None else verdict._asdict(),
        }
    return {"prompt": pair.prompt, **sides}


def _token_to_json(token: Token, shift: Shift | None) -> dict[str, Any]:
    data: dict[str, Any] = {"text": token.text}
    data |= {mark: 1 for mark in ("special", "changed", "beyond") if getattr(token, mark)}
    if shift is not None:
        data |= {
            name: _round_significant(value) if isinstance(value, float) else value
            for name, value in shift._asdict().items()
        }
    return data


def _round_significant(value: float) -> float | None:
    """Four significant digits: more are not shown."""
    known = finite_or_none(value)
    return None if known is None else float(f"{known:.4g}")

"""A position form on a text's own tokens: which are touched, and how strongly."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.steering.positions import parse
from elicit.steering.vocabulary import build_vocabulary

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PositionPicture:
    """The tokens of a prompt and a completion, with the strength multiplier at each."""

    positions: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    weights: tuple[float, ...]
    prompt_length: int

    @property
    def touched(self) -> list[int]:
        """Absolute positions that the form touches."""
        return [position for position, weight in enumerate(self.weights) if weight]

    def __repr__(self) -> str:
        marked = "".join(
            ("|" if position == self.prompt_length else "")
            + (token if not weight else f"[{token}]" if weight == 1 else f"[{token}]{weight:.2g}")
            for position, (token, weight) in enumerate(zip(self._printable, self.weights, strict=True))
        )
        return f"{self.positions}: {len(self.touched)} of {len(self.tokens)} tokens\n{marked}"

    def _repr_html_(self) -> str:
        cells = []
        for position, (token, weight) in enumerate(zip(self._printable, self.weights, strict=True)):
            offset = position - (self.prompt_length - 1)
            border = "border-left:2px solid #888;" if position == self.prompt_length else ""
            colour = f"background:rgba(43,108,196,{0.15 + 0.5 * weight:.2f});" if weight else ""
            title = f"position {position}, offset {offset}, id {self.ids[position]}, weight {weight:.3g}"
            below = f"<sub>{weight:.2g}</sub>" if weight not in (0, 1) else ""
            cells.append(
                f'<span title="{title}" style="{border}{colour}padding:1px 2px;margin:1px;white-space:pre">'
                f"{html.escape(token)}{below}</span>"
            )
        head = f"<code>{html.escape(self.positions)}</code>: {len(self.touched)} of {len(self.tokens)} tokens"
        return f'<div style="font-family:monospace;line-height:1.9"><div>{head}</div>{"".join(cells)}</div>'

    @property
    def _printable(self) -> list[str]:
        return [token.replace("\n", "\\n") or f"#{i}" for token, i in zip(self.tokens, self.ids, strict=True)]

    def frame(self) -> pd.DataFrame:
        """One row for every token: position, offset, id, token, weight."""
        import pandas as pd

        columns: dict[str, Any] = {
            "position": range(len(self.ids)),
            "offset": [position - (self.prompt_length - 1) for position in range(len(self.ids))],
            "id": self.ids,
            "token": self.tokens,
            "weight": self.weights,
        }
        return pd.DataFrame(columns)

    def save(self, path: str | Path) -> None:
        """Write the picture as an HTML file."""
        page = f'<!doctype html><meta charset="utf-8"><title>Positions</title>{self._repr_html_()}\n'
        Path(path).write_text(page, encoding="utf-8")


def show_positions(
    tokenizer: Any, positions: str, prompt: tuple[int, ...], completion: tuple[int, ...] = ()
) -> PositionPicture:
    """Weigh the tokens of a text by a position form.

    Raises:
        ElicitError: an unknown form, or a string that the tokenizer cannot write.
    """
    from elicit.loading.continuing import decode_token

    ids, form = (*prompt, *completion), parse(positions)
    weights = form.weights(ids, len(prompt), build_vocabulary(tokenizer) if form.reads_tokens else None)
    tokens = tuple(decode_token(tokenizer, token) for token in ids)
    return PositionPicture(positions, tokens, ids, tuple(map(float, weights)), len(prompt))

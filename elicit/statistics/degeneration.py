"""Signs that a text goes in circles: repeated n-grams and compressibility. Torch-free, of a completion's text alone."""

from __future__ import annotations

import re
import zlib

_PIECES = re.compile(r"\w+|[^\w\s]")
#: Shorter texts are mostly zlib's own header.
_LEAST_BYTES = 64


def repetition_rate(text: str, n: int = 4) -> float | None:
    """Share of n-grams (of words and signs) that occurred before in the same text; None if it has no n-gram.

    rep-n of Welleck et al. (1908.04319), on words and signs instead of tokens so that it is the same for all models.
    """
    pieces = _PIECES.findall(text)
    grams = [tuple(pieces[i : i + n]) for i in range(len(pieces) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None


def compression_ratio(text: str) -> float | None:
    """Bytes after zlib over bytes before; low for repetitive text, None below 64 bytes."""
    raw = text.encode("utf-8", "replace")
    return len(zlib.compress(raw, 9)) / len(raw) if len(raw) >= _LEAST_BYTES else None

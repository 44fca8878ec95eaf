"""ReasonScore (Galichin et al., 2503.18878): features that are active around words of reasoning.

    score_i = mu+_i / sum_j mu+_j  *  Hnorm_i^0.7  -  mu-_i / sum_j mu-_j

mu+ is the mean activation over tokens in a window around any of the words (2 tokens before, 3 after), mu- over all
others. With m_iw the mean activation in the windows of word w alone and p_iw = m_iw / sum_v m_iv, Hnorm_i is the
entropy of p_i over its largest value, log(number of words): a feature that marks one word and no other gains nothing
from it. With a single word there is no entropy, and Hnorm = 1 (so in the authors' code).

Here the text is the counted tokens of both conditions together: words decide, conditions do not. As in the authors'
code windows may overlap and a window of several tokens opens from each of its word's tokens. Different here: the words
are given, not mined by frequency, and a word that never occurs is left out of the entropy's largest value (it would
make 1 unreachable); which words occurred is in the table's `attrs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float64

from elicit.errors import ElicitError
from saes.discovery.conditions import Span, SparseActivations

#: {name: spellings}, a spelling being token ids: {"wait": [[14524], [3868]]}.
Words = Mapping[str, Sequence[Sequence[int]]]


@dataclass
class WordWindows:
    """Sums over the windows of every word, over their union, and over the rest: words + 2 numbers per feature."""

    words: Words
    window: tuple[int, int]
    d_sae: int
    sums: Float64[torch.Tensor, "part d_sae"] = field(init=False)
    tokens: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        spellings = [spelling for each in self.words.values() for spelling in (each or [()])]
        if not spellings or not all(isinstance(spelling, Sequence) and len(spelling) for spelling in spellings):
            raise ElicitError(
                "saes.discover: scorer 'reason_score' needs words={name: spellings}, a spelling being a list of at "
                "least one token id, such as words={'wait': [[14524], [3868]]}."
            )
        if min(self.window) < 0:
            raise ElicitError(
                f"saes.discover: window is {self.window}; expected (tokens before, tokens after), from 0."
            )
        self.sums = torch.zeros(len(self.words) + 2, self.d_sae, dtype=torch.float64)
        self.tokens = torch.zeros(len(self.words) + 2, dtype=torch.int64)

    def add(self, active: SparseActivations) -> None:
        masks = torch.cat([torch.from_numpy(self._mask_span(span)) for span in active.spans], dim=1)
        within = masks.any(0)
        for part, mask in enumerate([*masks, within, ~within]):
            if mask.any():
                chosen = mask[active.token]
                self.sums[part].index_add_(0, active.feature[chosen], active.value[chosen].double())
                self.tokens[part] += mask.sum()

    def _mask_span(self, span: Span) -> Bool[np.ndarray, "word counted"]:
        ids = np.asarray(span.ids)
        masks = np.zeros((len(self.words), len(ids)), dtype=bool)
        for mask, spellings in zip(masks, self.words.values(), strict=True):
            for spelling in spellings:
                _mark_spelling(mask, ids, spelling, self.window)
        return masks[:, span.start : span.stop]


def _mark_spelling(
    mask: Bool[np.ndarray, " pos"], ids: np.ndarray, spelling: Sequence[int], window: tuple[int, int]
) -> None:
    """Set `mask` in the window around every place where `spelling` stands."""
    length = len(spelling)
    if length > len(ids):
        return
    places = np.lib.stride_tricks.sliding_window_view(ids, length)
    for start in np.flatnonzero((places == np.asarray(spelling)).all(1)):
        mask[max(0, start - window[0]) : start + length + window[1]] = True


def compute_reason_score(windows: WordWindows, *, alpha: float = 0.7) -> dict[str, Float64[np.ndarray, " d_sae"]]:
    """The score of the module's docstring, and its entropy factor as `word_entropy` (Hnorm, NaN for a silent feature).

    Raises:
        ElicitError: no word occurs, or nothing lies outside the windows.
    """
    *single, within, without = windows.tokens.tolist()
    if within == 0 or without == 0:
        state = "none of the words occurs in" if within == 0 else "the windows around the words cover all of"
        raise ElicitError(
            f"saes.discover: scorer 'reason_score': {state} the {within + without} counted tokens. "
            f"Words: {', '.join(windows.words)}. Give other words, or spans that hold more text."
        )
    means = (windows.sums / windows.tokens.clamp_min(1)[:, None]).numpy()
    occurring = means[:-2][np.array(single) > 0]
    plus, minus = means[-2], means[-1]
    entropy = _compute_normalised_entropy(occurring)
    shares = [part / part.sum() if part.sum() > 0 else part for part in (plus, minus)]
    return {
        "reason_score": shares[0] * np.nan_to_num(entropy) ** alpha - shares[1],
        "word_entropy": entropy,
    }


def _compute_normalised_entropy(means: Float64[np.ndarray, "word d_sae"]) -> Float64[np.ndarray, " d_sae"]:
    total = means.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = means / total
        h = -np.where(p > 0, p * np.log(p), 0.0).sum(0)
    h = h / np.log(len(means)) if len(means) > 1 else np.ones_like(h)
    return np.where(total > 0, h, np.nan)

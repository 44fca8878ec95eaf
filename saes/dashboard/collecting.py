"""One pass over text: what each feature fires on, how often, how strongly, and together with which others.

1. Residuals stream in; the SAE encodes them in chunks; only activations above zero are looked at from here on.
2. Counts go into logarithmic bins that are fixed beforehand, so one pass is enough.
3. The strongest firing of every sequence competes for the top examples; all firings compete, by random numbers of their
   own, for the places of a sample (`saes.dashboard.examples`).
4. At the end the range is cut into bands at quantiles of the firings; a band's examples are those of the sample that
   lie in it, smallest numbers first: a uniform sample of the band's firings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int

from elicit import seeds
from elicit.errors import ElicitError
from saes.activations import Harvest, stream
from saes.dashboard.bands import Activity, summarize_activity
from saes.dashboard.examples import (
    FiringPool,
    Firings,
    Window,
    build_records,
    hash_prefixes,
    mix_bits,
    round_for_ordering,
)
from saes.dashboard.histogram import BINS, find_bins
from saes.sae import SAE

#: Correlations between features are kept for at most this many at once: their number grows with the square.
MOST_CORRELATED = 2048
#: Sampled firings a feature: enough that a band of a twentieth of them holds a few.
SAMPLE = 160
#: Activations (tokens x latents) that are held at once.
_CHUNK = 2**25


@dataclass(frozen=True, eq=False)
class Collected:
    """Results of one pass over the text."""

    sae: SAE
    features: tuple[int, ...]
    tokens: int
    """Tokens read, without the first `skip` of each sequence."""
    sequences: int
    skip: int
    text_sha256: str
    """Hash of all token ids, in the order they came."""
    seed: int
    l0: float
    """Mean number of latents above zero per token, all latents counted."""
    explained_variance: float
    """Share of the residual's variance the SAE explains on this text."""
    activities: tuple[Activity, ...]
    correlations: Float[np.ndarray, "feature feature"] | None
    """Pearson correlation of activations over tokens; NaN for a feature that never or always fires the same."""

    def get_activity(self, feature: int) -> Activity:
        """Raises ElicitError for a feature that was not collected."""
        return self.activities[self.get_slot(feature)]

    def get_slot(self, feature: int) -> int:
        """The place of a feature in `features`."""
        try:
            return self.features.index(feature)
        except ValueError:
            raise ElicitError(
                f"feature {feature} of SAE {self.sae.name!r} was not collected. Name it in collect(features=...)."
            ) from None

    @property
    def live(self) -> tuple[int, ...]:
        """Features that fired at least once."""
        return tuple(
            i for i, feature_activity in zip(self.features, self.activities, strict=True) if feature_activity.count
        )


def collect(
    model: Any,
    sae: SAE,
    sequences: Iterable[Sequence[int]],
    *,
    features: Sequence[int] | None = None,
    examples: int = 20,
    per_band: int = 5,
    before: int = 24,
    after: int = 10,
    skip: int = 1,
    seed: int = 0,
    batch_tokens: int = 8192,
    progress: Callable[[int], None] | None = None,
) -> Collected:
    """Statistics and examples of features over token sequences, in one pass and bounded memory.

    Nothing depends on the batch size or, but for `text_sha256`, on the order of the sequences.

    Args:
        model: a transformers causal LM or a TransformerBridge.
        sequences: token ids, with their BOS.
        features: which latents; None for all.
        examples: top examples a feature, at most one a sequence.
        per_band: sampled examples of each quantile band, at most one a sequence.
        before: tokens shown before a firing.
        after: tokens shown after it.
        skip: first tokens of each sequence that are not read (their residuals are outliers in real models).
        progress: called with the number of tokens read so far.

    Raises:
        ElicitError: a latent or layer that does not exist, or no tokens at all.
    """
    chosen = tuple(range(sae.d_sae)) if features is None else tuple(dict.fromkeys(int(i) for i in features))
    for index in chosen:
        sae.feature(index)
    if not chosen:
        raise ElicitError("collect: no features were asked for.")
    tally = _Tally(sae, chosen, skip, seed, Window(before + 1, after + 1), examples)
    digest = hashlib.sha256()
    for harvest in stream(model, sae.layer, _hash_sequences(sequences, digest), batch_tokens=batch_tokens, skip=0):
        tally.add(harvest)
        if progress is not None:
            progress(tally.tokens)
    if tally.tokens == 0:
        raise ElicitError(f"collect: the text holds no token to read (the first {skip} of each sequence are left out).")
    return tally.to_collected(digest.hexdigest(), examples, per_band)


def _hash_sequences(sequences: Iterable[Sequence[int]], digest: Any) -> Iterator[Sequence[int]]:
    for sequence in sequences:
        digest.update(np.asarray(sequence, dtype=np.int64).tobytes() + b"\xff" * 8)
        yield sequence


class _Tally:
    """The running sums of one pass."""

    def __init__(self, sae: SAE, features: tuple[int, ...], skip: int, seed: int, window: Window, top: int) -> None:
        self.sae, self.features, self.skip, self.seed = sae, features, skip, seed
        #: One token more on either side than is shown, to know whether the text goes on.
        self.window = window
        self.tokens, self.sequences, self.active = 0, 0, 0
        n = len(features)
        self.slots = np.full(sae.d_sae, -1)
        self.slots[list(features)] = np.arange(n)
        self.salt = np.array(
            [seeds.derive_key("examples", seed, sae.sha256, i) & (2**64 - 1) for i in features], np.uint64
        )
        self.histogram = np.zeros((n, BINS), dtype=np.int64)
        self.sums, self.maxima = np.zeros(n), np.zeros(n)
        self.products = np.zeros((n, n)) if n <= MOST_CORRELATED else None
        self.squares = np.zeros(n)
        self.error, self.total = 0.0, 0.0
        self.mean = np.zeros(sae.d_model)
        self.top = FiringPool(n, top, window)
        self.sample = FiringPool(n, SAMPLE, window)

    def add(self, harvest: Harvest) -> None:
        """Add one batch."""
        position = harvest.position.numpy()
        read = position >= self.skip
        self.tokens += int(read.sum())
        self.sequences += int((position == 0).sum())
        if not read.any():
            return
        acts = self._encode_features(harvest.h, read)
        firing = self._build_firings(harvest.ids.numpy(), position, acts)
        self._count_firings(firing, acts)
        self._offer_to_pools(firing, acts, harvest.ids.numpy(), position)

    def _encode_features(self, h: Float[torch.Tensor, "token d_model"], read: np.ndarray) -> scipy.sparse.csr_array:
        """Activations of the chosen features, [token, feature]; empty rows for tokens that are not read."""
        rows, slots, values = [], [], []
        places = np.flatnonzero(read)
        step = max(1, _CHUNK // self.sae.d_sae)
        with torch.no_grad():
            for start in range(0, len(places), step):
                part = places[start : start + step]
                x = h[torch.from_numpy(part).to(h.device)].to(self.sae.device, torch.float32)
                f = self.sae.encode(x)
                self._add_error(x, f)
                row, latent = (f > 0).nonzero(as_tuple=True)
                value = f[row, latent].cpu().numpy().astype(np.float64)
                slot = self.slots[latent.cpu().numpy()]
                self.active += len(slot)
                selected = slot >= 0
                rows.append(part[row.cpu().numpy()[selected]])
                slots.append(slot[selected])
                values.append(value[selected])
        triples = np.concatenate(values), (np.concatenate(rows), np.concatenate(slots))
        return scipy.sparse.csr_array(triples, shape=(len(read), len(self.features)))

    def _add_error(self, h: Float[torch.Tensor, "token d_model"], f: Float[torch.Tensor, "token d_sae"]) -> None:
        self.error += float(((h - self.sae.decode(f)) ** 2).sum(dtype=torch.float64))
        self.total += float((h**2).sum(dtype=torch.float64))
        self.mean += h.sum(dim=0, dtype=torch.float64).cpu().numpy()

    def _build_firings(
        self, ids: Int[np.ndarray, " token"], position: Int[np.ndarray, " token"], acts: scipy.sparse.csr_array
    ) -> Firings:
        entries = acts.tocoo()
        row, slot, value = entries.row.astype(np.int64), entries.col.astype(np.int64), entries.data
        prefix = hash_prefixes(ids, position)
        ends = np.flatnonzero(np.append(position[1:] == 0, True))
        whole = prefix[ends[np.searchsorted(ends, row)]]
        context = mix_bits(prefix[row] ^ self.salt[slot])
        return Firings(slot, -round_for_ordering(value), context, context, whole, row, value)

    def _count_firings(self, firing: Firings, acts: scipy.sparse.csr_array) -> None:
        n = len(self.features)
        flat_bins = firing.slot * BINS + find_bins(firing.value)
        self.histogram += np.bincount(flat_bins, minlength=n * BINS).reshape(n, BINS)
        self.sums += np.bincount(firing.slot, firing.value, minlength=n)
        self.squares += np.bincount(firing.slot, firing.value**2, minlength=n)
        np.maximum.at(self.maxima, firing.slot, firing.value)
        if self.products is not None:
            self.products += (acts.T @ acts).toarray()

    def _offer_to_pools(
        self, firing: Firings, acts: scipy.sparse.csr_array, ids: np.ndarray, position: np.ndarray
    ) -> None:
        starts = np.maximum.accumulate(np.where(position == 0, np.arange(len(position)), 0))
        # The strongest firing of each sequence and feature; the earliest of equal ones.
        order = np.lexsort((firing.row, firing.rank, firing.slot, starts[firing.row]))
        groups = starts[firing.row][order] * len(self.features) + firing.slot[order]
        peaks = firing.select_entries(order[np.append(True, groups[1:] != groups[:-1])[: len(order)]])
        sample_keys = mix_bits(
            mix_bits(firing.sequence + position[firing.row].astype(np.uint64)) ^ self.salt[firing.slot]
        )
        sampled = firing._replace(key=sample_keys, rank=(sample_keys >> np.uint64(11)).astype(np.float64))
        for pool, offered in (
            (self.top, self.top.filter_candidates(peaks)),
            (self.sample, self.sample.filter_candidates(sampled)),
        ):
            pool.add(build_records(offered, *self._gather_windows(offered, acts, ids, position), self.window))

    def _gather_windows(
        self, firing: Firings, acts: scipy.sparse.csr_array, ids: np.ndarray, position: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        offsets = np.arange(-self.window.before, self.window.after + 1)
        rows = np.clip(firing.row[:, None] + offsets, 0, len(ids) - 1)
        # In the same sequence exactly when the position moves with the row.
        inside = position[rows] == position[firing.row][:, None] + offsets
        slots = np.broadcast_to(firing.slot[:, None], rows.shape)
        window_acts = np.asarray(acts[rows.ravel(), slots.ravel()]) if rows.size else np.zeros(0)
        values = np.where(inside & (position[rows] >= self.skip), window_acts.reshape(rows.shape), np.nan)
        return np.where(inside, ids[rows], -1), values

    def to_collected(self, text_sha256: str, examples: int, per_band: int) -> Collected:
        n = self.tokens
        variance = self.total - float(self.mean @ self.mean) / n
        tops, samples = self.top.by_feature(), self.sample.by_feature()
        activities = tuple(
            summarize_activity(
                self.histogram[slot],
                tokens=n,
                total=float(self.sums[slot]),
                maximum=float(self.maxima[slot]),
                top=tops[slot],
                sampled=samples[slot],
                window=self.window,
                examples=examples,
                per_band=per_band,
            )
            for slot in range(len(self.features))
        )
        explained_variance = 1 - self.error / variance if variance > 0 else float("nan")
        return Collected(
            self.sae,
            self.features,
            n,
            self.sequences,
            self.skip,
            text_sha256,
            self.seed,
            self.active / n,
            explained_variance,
            activities,
            self._compute_correlations(),
        )

    def _compute_correlations(self) -> np.ndarray | None:
        if self.products is None:
            return None
        mean = self.sums / self.tokens
        covariance = self.products / self.tokens - np.outer(mean, mean)
        spread = np.sqrt(np.maximum(np.diag(covariance), 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            correlations: np.ndarray = covariance / np.outer(spread, spread)
        return correlations

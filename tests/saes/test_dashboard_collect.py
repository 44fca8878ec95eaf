"""What one streaming pass finds, against one sequence at a time by transformers' own code and plain numpy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch
from transformers import PreTrainedModel

from elicit.errors import ElicitError
from elicit.seeds import make_generator
from saes.dashboard import Activity, Collected, Example, collect, contrast
from saes.dashboard.histogram import BINS, get_lower_edge
from saes.sae import SAE
from tests.saes.tiny_sae import TopK, tiny_sae
from tests.support.tiny import tiny

BEFORE, AFTER = 3, 2


class World(NamedTuple):
    hf: PreTrainedModel
    sae: SAE
    sequences: list[tuple[int, ...]]
    f: list[np.ndarray]
    """Per sequence, activations [token, latent], 0 at the first token."""


@pytest.fixture(scope="module")
def world() -> World:
    """70 sequences of 1 to 30 tokens; half of them share their first eight, two are the same."""
    hf, _ = tiny("llama")
    rng = make_generator("dashboard test")
    opening = [1, *rng.integers(4, 60, 7).tolist()]
    sequences = []
    for i in range(70):
        tail = rng.integers(4, 60, int(rng.integers(0, 22))).tolist()
        sequences.append(tuple(opening + tail if i % 2 else [1, *tail]))
    sequences.append(sequences[3])
    sae = tiny_sae()
    activations = []
    for ids in sequences:
        with torch.no_grad():
            hidden = hf(torch.tensor([ids]), output_hidden_states=True).hidden_states[sae.layer + 1][0]
        f = sae.encode(hidden).numpy().astype(np.float64)
        f[0] = 0
        activations.append(f)
    return World(hf, sae, sequences, activations)


@pytest.fixture(scope="module")
def found(world: World) -> Collected:
    return collect(world.hf, world.sae, world.sequences, before=BEFORE, after=AFTER, examples=6, batch_tokens=200)


def test_counts_are_those_of_one_sequence_at_a_time(world: World, found: Collected) -> None:
    f = np.concatenate([part[1:] for part in world.f])
    assert found.tokens == len(f) == sum(len(s) - 1 for s in world.sequences)
    assert found.sequences == len(world.sequences)
    assert found.l0 == pytest.approx((f > 0).sum() / len(f))
    for i, activity in zip(found.features, found.activities, strict=True):
        mine = f[:, i][f[:, i] > 0]
        assert activity.count == len(mine)
        assert activity.density == pytest.approx((f[:, i] > 0).mean())
        assert activity.maximum == pytest.approx(mine.max(initial=0), rel=1e-4)
        assert activity.mean == pytest.approx(mine.mean() if len(mine) else math.nan, rel=1e-4, nan_ok=True)
        edges = np.array([get_lower_edge(b) for b in range(BINS + 1)])
        expected, _ = np.histogram(mine, bins=edges)
        # A value on an edge may fall on either side of it by rounding: compare running sums one bin apart.
        assert np.abs(np.cumsum(activity.histogram) - np.cumsum(expected)).max() <= 1
    assert found.live == tuple(range(world.sae.d_sae - 1))


def test_correlations_are_pearson_over_tokens(world: World, found: Collected) -> None:
    f = np.concatenate([part[1:] for part in world.f])
    live = list(found.live)
    assert found.correlations is not None
    np.testing.assert_allclose(found.correlations[np.ix_(live, live)], np.corrcoef(f[:, live].T), atol=1e-4)
    assert np.isnan(found.correlations[-1]).all()  # a feature that never fires correlates with nothing


def test_explained_variance(world: World, found: Collected) -> None:
    rows = []
    for ids in world.sequences:
        with torch.no_grad():
            rows.append(world.hf(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0, 1:])
    h = torch.cat(rows).double()
    error = h - world.sae.reconstruct(h.float()).double()
    expected = 1 - (error**2).sum() / ((h - h.mean(dim=0)) ** 2).sum()
    assert found.explained_variance == pytest.approx(float(expected), abs=1e-4)


def test_top_examples_are_the_strongest_contexts(world: World, found: Collected) -> None:
    """Brute force: each sequence's strongest firing, one of each context, sorted."""
    for i in found.live:
        best: dict[tuple[int, ...], float] = {}
        for ids, f in zip(world.sequences, world.f, strict=True):
            p = int(f[:, i].argmax())
            if f[p, i] > 0:
                best[ids[: p + 1]] = f[p, i]
        expected = sorted(best.values(), reverse=True)[:6]
        top = found.get_activity(i).top
        assert len(top) == len(expected)
        # Values that differ by less than a two-thousandth count as equal when the places are given out.
        assert [shown.value for shown in top] == pytest.approx(expected, rel=1e-3)


def test_examples_show_the_text_around_them_with_its_activations(world: World, found: Collected) -> None:
    for i in found.live:
        activity = found.get_activity(i)
        for shown in (*activity.top, *(example for band in activity.bands for example in band.examples)):
            assert shown.activations[shown.peak] == pytest.approx(shown.value)
            assert any(_is_slice(shown, ids, f[:, i]) for ids, f in zip(world.sequences, world.f, strict=True)), shown


def _is_slice(shown: Example, ids: tuple[int, ...], f: np.ndarray) -> bool:
    for p in range(len(ids)):
        low, high = max(0, p - BEFORE), min(len(ids), p + AFTER + 1)
        if (
            shown.ids == ids[low:high]
            and shown.peak == p - low
            and (shown.opens, shown.closes) == (low == 0, high == len(ids))
        ):
            told = np.array(shown.activations)
            assert np.isnan(told[0]) == (low == 0)  # the first token of a sequence is not read
            np.testing.assert_allclose(np.nan_to_num(told), f[low:high], rtol=1e-3, atol=1e-4)
            return True
    return False


def test_bands_are_the_occupied_range_and_hold_their_examples(found: Collected) -> None:
    for i in found.live:
        activity = found.get_activity(i)
        assert sum(band.count for band in activity.bands) == activity.count
        assert activity.bands[0].quantiles[1] == 1
        assert activity.bands[-1].quantiles[0] == 0
        for band in activity.bands:
            assert band.quantiles[1] - band.quantiles[0] == pytest.approx(band.count / activity.count)
            values = [shown.value for shown in band.examples]
            assert all(band.low <= value <= band.high * (1 + 1e-6) for value in values)
            assert values == sorted(values, reverse=True)
            contexts = [shown.ids[: shown.peak + 1] for shown in band.examples if shown.opens]
            assert len(set(contexts)) == len(contexts)


@pytest.mark.parametrize(("batch_tokens", "backwards"), [(1, False), (64, True), (100_000, False)])
def test_neither_batches_nor_order_matter(world: World, found: Collected, batch_tokens: int, backwards: bool) -> None:
    order = world.sequences[::-1] if backwards else world.sequences
    other = collect(world.hf, world.sae, order, before=BEFORE, after=AFTER, examples=6, batch_tokens=batch_tokens)
    for mine, theirs in zip(found.activities, other.activities, strict=True):
        assert _shown(mine) == _shown(theirs)
        assert np.abs(np.cumsum(mine.histogram) - np.cumsum(theirs.histogram)).max() <= 1
        assert (mine.count, mine.mean) == pytest.approx((theirs.count, theirs.mean), rel=1e-5, nan_ok=True)
    assert other.explained_variance == pytest.approx(found.explained_variance, abs=1e-6)
    assert (other.text_sha256 == found.text_sha256) == (not backwards)


class _Noisy(TopK):
    """Rounds a little differently in batches of different size, as some machines' matrix products do."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return super().encode(x) * (1 + 3e-7 * (x.shape[0] % 7))


def test_rounding_that_depends_on_the_batch_changes_no_example(world: World) -> None:
    noisy = dataclasses.replace(world.sae, coder=_Noisy(world.sae.coder.rows, world.sae.coder.b, world.sae.coder.k))  # type: ignore[attr-defined]
    one, many = (
        collect(world.hf, noisy, world.sequences, before=BEFORE, after=AFTER, examples=70, batch_tokens=tokens)
        for tokens in (100_000, 40)
    )
    assert [_shown(activity) for activity in one.activities] == [_shown(activity) for activity in many.activities]


def _shown(activity: Activity) -> list[set[tuple[tuple[int, ...], int]]]:
    groups = [activity.top, *(band.examples for band in activity.bands)]
    return [{(shown.ids, shown.peak) for shown in group} for group in groups]


def test_another_seed_draws_other_examples_and_the_same_top(world: World, found: Collected) -> None:
    other = collect(world.hf, world.sae, world.sequences, before=BEFORE, after=AFTER, examples=6, per_band=2, seed=1)
    same = collect(world.hf, world.sae, world.sequences, before=BEFORE, after=AFTER, examples=6, per_band=2, seed=0)
    assert [_shown(a)[1:] for a in other.activities] != [_shown(a)[1:] for a in same.activities]
    for mine, theirs in zip(same.activities, other.activities, strict=True):
        assert [e.value for e in mine.top] == pytest.approx([e.value for e in theirs.top], rel=1e-3)


def test_a_few_features_are_read_as_among_all(world: World, found: Collected) -> None:
    few = collect(world.hf, world.sae, world.sequences, features=[7, 2, 7], before=BEFORE, after=AFTER, examples=6)
    assert few.features == (7, 2)
    for i in (7, 2):
        assert _shown(few.get_activity(i)) == _shown(found.get_activity(i))
        assert few.get_activity(i).count == found.get_activity(i).count
    assert (few.l0, few.explained_variance) == pytest.approx((found.l0, found.explained_variance))


def test_bad_input(world: World) -> None:
    with pytest.raises(ElicitError, match=r"has no feature 24\. Its features are 0 to 23"):
        collect(world.hf, world.sae, world.sequences, features=[24])
    with pytest.raises(ElicitError, match="no features were asked for"):
        collect(world.hf, world.sae, world.sequences, features=[])
    with pytest.raises(ElicitError, match="holds no token to read"):
        collect(world.hf, world.sae, [(1,), (1,)])
    with pytest.raises(ElicitError, match="feature 5 of SAE 'tiny/L1' was not collected"):
        collect(world.hf, world.sae, world.sequences[:4], features=[3]).get_activity(5)


def test_contrast_is_read_at_the_last_token(world: World) -> None:
    positive = [s for s in world.sequences if len(s) > 9][:12]
    negative = [s[:5] + s[6:] for s in positive]
    sides = [np.array([_last(world, ids) for ids in side]) for side in (positive, negative)]
    features = np.argsort(-np.abs((sides[0] - sides[1]).mean(axis=0)))[:2].tolist()
    found = contrast(world.hf, world.sae, positive, negative, features=features, show=3, batch_tokens=90)
    for slot, feature in enumerate(features):
        difference = found.get_difference(feature)
        assert difference is not None
        a, b = (side[:, feature] for side in sides)
        assert (difference.positive.value, difference.negative.value) == pytest.approx((a.mean(), b.mean()), abs=1e-4)
        assert difference.paired.n == 12
        assert difference.paired.value == pytest.approx((a - b).mean(), abs=1e-4)
        assert abs(difference.paired.value) > 0.1
        t = scipy.stats.ttest_rel(a, b).confidence_interval()
        assert difference.paired.ci == pytest.approx((t.low, t.high), abs=1e-3)
        assert [pair[0].ids for pair in difference.prompt_pairs] == positive[:3]
        assert [pair[1].activations[-1] for pair in difference.prompt_pairs] == pytest.approx(b[:3].tolist(), abs=1e-4)
        assert all(math.isnan(side.activations[0]) for pair in difference.prompt_pairs for side in pair)
        assert slot == found.features.index(feature)
    with pytest.raises(ElicitError, match="12 prompts of one condition and 11 of the other"):
        contrast(world.hf, world.sae, positive, negative[1:], features=features)


def _last(world: World, ids: Sequence[int]) -> np.ndarray:
    with torch.no_grad():
        hidden = world.hf(torch.tensor([ids]), output_hidden_states=True).hidden_states[world.sae.layer + 1]
    return world.sae.encode(hidden[0, -1]).numpy()

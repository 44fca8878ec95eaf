"""`saes.discover` against brute force, token by token; neither batches nor the order of sequences may matter."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

import elicit
from elicit.errors import ElicitError
from saes import activations
from saes.discovery import SCORERS, Span, agreement, discover
from tests.saes import brute
from tests.saes.brute import spans
from tests.saes.tiny_sae import tiny_sae
from tests.support.models import tiny_model

MODEL = tiny_model("llama")
SAE = tiny_sae()
WORDS = {"ab": [[40, 41], [66]], "c": [[42]], "never": [[99]]}
POSITIVE, NEGATIVE = spans("positive", 24), spans("negative", 17)


def everything(positive: Any, negative: Any, **changes: Any) -> pd.DataFrame:
    options: dict[str, Any] = {"logit_difference": (50, 60), "words": WORDS, "probe_rows": 30, "attribution_spans": 9}
    return discover(MODEL.hf, SAE, positive, negative, **options | changes)


def test_levels_and_contrast_are_those_of_a_loop_over_tokens() -> None:
    table = discover(MODEL.hf, SAE, POSITIVE, NEGATIVE, scorers=["contrast"]).sort_index()
    for name, side in (("positive", POSITIVE), ("negative", NEGATIVE)):
        f = np.concatenate(brute.activations_of(MODEL.hf, SAE, side))
        np.testing.assert_allclose(table[f"mean_{name}"], f.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(table[f"count_{name}"], (f > 0).sum(0))
        np.testing.assert_allclose(table[f"density_{name}"], (f > 0).mean(0))
        assert table.attrs["conditions"][name]["tokens"] == len(f)
    np.testing.assert_allclose(table["contrast"], table["mean_positive"] - table["mean_negative"])
    assert table["rank_contrast"].idxmin() == table["contrast"].idxmax()
    assert len(table) == SAE.d_sae


def test_one_group_has_no_interval() -> None:
    table = discover(MODEL.hf, SAE, POSITIVE[:1], NEGATIVE, scorers=["contrast"])
    assert table[["contrast_low", "contrast_high"]].isna().all().all()
    assert table["contrast"].notna().all()


def test_auroc_of_a_stream_is_scikit_learns() -> None:
    table = discover(MODEL.hf, SAE, POSITIVE, NEGATIVE, scorers=["auroc"]).sort_index()
    f, g = (np.concatenate(brute.activations_of(MODEL.hf, SAE, side)) for side in (POSITIVE, NEGATIVE))
    label = np.repeat([1, 0], [len(f), len(g)])
    expected = [roc_auc_score(label, np.concatenate([f, g])[:, i]) for i in range(SAE.d_sae)]
    np.testing.assert_allclose(table["auroc"], expected, atol=2e-3)  # rounding may break a tie
    assert table.attrs["auroc_exact"]


@pytest.mark.parametrize("window", [(2, 3), (0, 0)])
def test_reason_score_is_the_formula_token_by_token(window: tuple[int, int]) -> None:
    table = discover(
        MODEL.hf, SAE, POSITIVE, NEGATIVE, scorers=["reason_score"], words=WORDS, window=window
    ).sort_index()
    both = POSITIVE + NEGATIVE
    expected = brute.reason_score(both, brute.activations_of(MODEL.hf, SAE, both), WORDS, *window)
    np.testing.assert_allclose(table["reason_score"], expected, rtol=1e-3, atol=1e-6)
    assert np.abs(expected).max() > 0.01
    assert table.attrs["words"]["never"] == 0
    assert table.attrs["words"]["c"] > 0


def same(one: pd.DataFrame, two: pd.DataFrame) -> None:
    one, two = one.sort_index(), two.sort_index()
    for column in [name for name in one.columns if not name.startswith("rank_")]:
        np.testing.assert_allclose(one[column], two[column], rtol=2e-3, atol=2e-4, err_msg=column)
    for side in ("positive", "negative"):
        assert one.attrs["conditions"][side] == two.attrs["conditions"][side]


WHOLE = everything(POSITIVE, NEGATIVE)


@settings(max_examples=12, deadline=None)
@given(batch_tokens=st.integers(1, 400), order=st.randoms(use_true_random=False), chunk=st.sampled_from([1, 7, 1024]))
def test_neither_batches_nor_the_order_of_sequences_change_a_score(batch_tokens: int, order: Any, chunk: int) -> None:
    shuffled = [list(POSITIVE), list(NEGATIVE)]
    for side in shuffled:
        order.shuffle(side)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saes.discovery.conditions.CHUNK", chunk)
        same(everything(*map(iter, shuffled), batch_tokens=batch_tokens), WHOLE)


def test_all_scorers_are_in_the_table_and_ranked() -> None:
    assert list(WHOLE.attrs["scores"]) == list(SCORERS)
    for name in SCORERS:
        ranks = WHOLE.loc[WHOLE[name].notna(), f"rank_{name}"].astype(int)
        expected = stats.rankdata(-WHOLE.loc[ranks.index, name], method="min")
        np.testing.assert_array_equal(ranks, expected)
    assert WHOLE.index.name == "feature"


def test_a_generator_is_read_once_and_not_ahead_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "_WINDOW", 8)
    drawn, ahead = 0, []

    def counted() -> Iterator[Span]:
        nonlocal drawn
        for span in spans("positive", 60):
            drawn += 1
            yield span

    done = 0
    real = activations.capture_residual

    def watched(hf: Any, block: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        nonlocal done
        ahead.append(drawn - done)
        done += len(ids)
        return real(hf, block, ids, mask)

    monkeypatch.setattr(activations, "capture_residual", watched)
    with contextlib.suppress(ElicitError):
        discover(MODEL.hf, SAE, counted(), iter([]), scorers=["contrast"], batch_tokens=40)
    assert done == 60
    assert max(ahead) <= 8


def test_another_model_may_read_the_negative_spans_by_itself_or_under_a_context() -> None:
    other = tiny_model("llama", seed=5)
    through = discover(MODEL.hf, SAE, POSITIVE, POSITIVE, negative_model=other.hf, scorers=["contrast", "auroc"])
    expected = np.concatenate(brute.activations_of(other.hf, SAE, POSITIVE)).mean(0)
    np.testing.assert_allclose(through.sort_index()["mean_negative"], expected, rtol=1e-4, atol=1e-5)

    @contextlib.contextmanager
    def swapped() -> Iterator[None]:
        before = {name: value.clone() for name, value in MODEL.hf.state_dict().items()}
        MODEL.hf.load_state_dict(other.hf.state_dict())
        try:
            yield
        finally:
            MODEL.hf.load_state_dict(before)

    under = discover(MODEL.hf, SAE, POSITIVE, POSITIVE, negative_context=swapped(), scorers=["contrast", "auroc"])
    pd.testing.assert_frame_equal(under, through)
    turned = discover(MODEL.hf, SAE, POSITIVE, POSITIVE, positive_context=swapped(), scorers=["contrast"])
    np.testing.assert_allclose(turned.sort_index()["contrast"], -through.sort_index()["contrast"], atol=1e-6)


def test_agreement_is_scipys_spearman_over_features_that_were_active() -> None:
    found = agreement(WHOLE, top=5)
    live = WHOLE[(WHOLE["count_positive"] + WHOLE["count_negative"]) > 0]
    assert len(live) < len(WHOLE)
    assert list(found.index) == list(itertools.combinations(SCORERS, 2))
    for (one, two), row in found.iterrows():
        both = live[[one, two]].dropna()
        assert row["spearman"] == pytest.approx(stats.spearmanr(both[one], both[two]).statistic)
        best = [{i for i in both.index if (both[name] >= both.loc[i, name]).sum() <= 5} for name in (one, two)]
        assert row["shared"] == len(best[0] & best[1])
        assert row["most"] == min(map(len, best)) <= 5


@pytest.mark.parametrize(
    ("positive", "negative", "options", "message"),
    [
        ([], NEGATIVE, {}, "the positive condition holds no span"),
        (POSITIVE, iter([]), {"names": ("cued", "plain")}, "the plain condition holds no span"),
        ([Span([1, 2, 3], 2, 2)], NEGATIVE, {}, "positive span 0 is [2, 2) of a sequence of 3 tokens"),
        (POSITIVE, [NEGATIVE[0], Span([1, 2, 3], 1, 4)], {}, "negative span 1 is [1, 4) of a sequence of 3 tokens"),
        ([Span.last([])], NEGATIVE, {}, "positive span 0 is [-1, 0) of a sequence of 0 tokens"),
        ([[1, 2, 3]], NEGATIVE, {}, "expected saes.Span(ids, start, stop)"),
        (POSITIVE, NEGATIVE, {"scorers": ["contrsat"]}, "unknown scorer 'contrsat'. Did you mean 'contrast'?"),
        (POSITIVE, NEGATIVE, {"scorers": "contrast"}, "expected a list, such as"),
        (POSITIVE, NEGATIVE, {"scorers": ["dla"]}, "scorer 'dla' needs logit_difference"),
        (POSITIVE, NEGATIVE, {"scorers": ["reason_score"]}, "scorer 'reason_score' needs words"),
        (POSITIVE, NEGATIVE, {"words": {"x": [[99]]}}, "none of the words occurs in the"),
        (POSITIVE, NEGATIVE, {"words": {"x": [[]]}}, "a spelling being a list of at least one token id"),
        (POSITIVE, NEGATIVE, {"words": {"x": [7]}}, "a spelling being a list of at least one token id"),
        (POSITIVE, NEGATIVE, {"words": {}}, "a spelling being a list of at least one token id"),
        (POSITIVE, NEGATIVE, {"logit_difference": (5, 5)}, "expected two different token ids"),
        (POSITIVE, NEGATIVE, {"logit_difference": (5, 10**6)}, "expected two different token ids (a, b) from 0 to"),
        (POSITIVE[:1], NEGATIVE, {}, "scorer 'probe' needs at least two different sequences"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(positive: Any, negative: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ElicitError) as raised:
        discover(MODEL.hf, SAE, positive, negative, **options)
    assert message in str(raised.value)


def test_an_sae_of_another_model_is_refused() -> None:
    with pytest.raises(ElicitError, match=r"reads residuals of width 16, but the model's have 32"):
        discover(MODEL.hf, tiny_sae(16), POSITIVE, NEGATIVE)
    with pytest.raises(ElicitError, match=r"reads layer 3, but the model has layers 0 to 2"):
        discover(MODEL.hf, tiny_sae(layer=3), POSITIVE, NEGATIVE)


def test_nan_in_a_residual_is_an_error() -> None:
    def poison(module: Any, args: Any, output: Any) -> Any:
        return output * float("nan")

    handle = activations.find_decoder_layers(MODEL.hf)[0].register_forward_hook(poison)
    try:
        with pytest.raises(ElicitError, match="NaN or infinite activations at layer 1"):
            discover(MODEL.hf, SAE, POSITIVE, NEGATIVE)
    finally:
        handle.remove()


@pytest.mark.parametrize("layer", [1, 2])
def test_the_mode_switch_of_the_cued_organism_is_found_and_holds_on_other_problems(layer: int) -> None:
    import saes
    from elicit.comparison.spec import build_task
    from elicit.fitting.sae_lookup import choose_logit_difference_tokens

    model = elicit.load("cued")
    sae = saes.load(f"cued/L{layer}")
    task = build_task({"task": "addition"}, model.card["dialect"], where="test")
    tables = {}
    for split in ("train", "select"):
        problems = task.problems(split, 100)
        sides = (
            [Span.last(model.encode(text), problem.id) for problem in problems for text in (getattr(problem, which),)]
            for which in ("cue_prompt", "prompt")
        )
        tables[split] = discover(model.hf, sae, *sides, logit_difference=choose_logit_difference_tokens(model, task))
    found = int(tables["train"].index[0])
    for table in tables.values():
        row = table.loc[found]
        assert row["rank_contrast"] == 1
        assert row["auroc"] > 0.99
        assert row["rank_patching"] <= 3
        assert row["contrast_low"] > 0
        assert table.attrs["probe"]["auroc"] > 0.99
        assert table.attrs["probe"]["single_auroc"] > 0.99
        # The probe may mark the other side instead: the largest weight is the mode's either way.
        strongest = int(table["probe"].abs().idxmax())
        assert table.loc[strongest, "auroc"] > 0.99 or table.loc[strongest, "auroc"] < 0.01
    assert int(tables["select"].index[0]) == found

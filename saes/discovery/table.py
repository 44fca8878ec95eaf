"""`discover`: two streams of spans in, one table of features out; `agreement`: how far its scorers agree.

1. The positive spans stream through the model up to the SAE's layer; sums, values and samples are kept, never rows.
2. The negative spans do the same, through the negative model or under the negative context where one is given.
3. A seeded sample of each condition's spans runs through the whole model for the attributions.
4. Every scorer makes its columns, and a rank: 1 is the feature most on the positive side. One of your own is a function
   of the conditions' figures (`discovery.functions`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from elicit.errors import ElicitError, unknown_name_error
from saes.discovery.attribution import LogitDifference, MeanAttribution, attribute_spans
from saes.discovery.auroc import ActivationValues, compute_auroc
from saes.discovery.conditions import Span, SparseActivations, check_match, encode_spans
from saes.discovery.functions import (
    ConditionFigures,
    Scorer,
    compute_function_score,
    find_function_scorers,
    name_scorer,
)
from saes.discovery.moments import Moments, compute_contrast
from saes.discovery.reason import Words, WordWindows, compute_reason_score
from saes.discovery.sample import RowSample, SpanSample
from saes.sae import SAE

if TYPE_CHECKING:
    import pandas as pd

#: The scorers that explain a logit difference.
_OF_LOGITS = ("attribution", "patching", "dla")
#: Every scorer, and what its column says.
SCORERS: dict[str, str] = {
    "contrast": "mean activation, positive minus negative (2601.08058)",
    "auroc": "P(positive activation > negative one), ties half; 0.5 is chance",
    "probe": "coefficient of an L1 logistic regression on activations in residual length; 0 = not needed",
    "attribution": "activation times gradient of the logit difference along the decoder row, positive minus negative",
    "patching": "difference of means times gradient of the logit difference under the negative condition (2310.10348)",
    "dla": "activation times the decoder row's direct effect on the logit difference (norm scale frozen), "
    "positive minus negative",
    "reason_score": "share of activation in windows around reasoning words times entropy^0.7, minus the share outside "
    "(2503.18878)",
}


@dataclass
class _ConditionStatistics:
    """Statistics of one condition, updated while it streams."""

    name: str
    moments: Moments
    values: ActivationValues | None
    rows: RowSample | None
    spans: SpanSample | None
    digest: int = 0
    attributed: MeanAttribution | None = field(default=None)

    def add(self, active: SparseActivations) -> None:
        self.moments.add(active)
        for part in (self.values, self.rows, self.spans):
            if part is not None:
                part.add(active)
        for span in active.spans:  # a sum, so that the order of spans does not matter
            self.digest = (self.digest + int(span.digest, 16)) % 2**128

    def to_json(self) -> dict[str, Any]:
        text = hashlib.sha256(self.digest.to_bytes(16, "little")).hexdigest()
        return {"name": self.name, "tokens": self.moments.tokens, "spans": self.moments.spans, "text_sha256": text}


def discover(
    model: Any,
    sae: SAE,
    positive: Iterable[Span],
    negative: Iterable[Span],
    *,
    scorers: Sequence[str | Scorer] | None = None,
    logit_difference: LogitDifference | None = None,
    words: Words | None = None,
    window: tuple[int, int] = (2, 3),
    positive_context: AbstractContextManager[Any] | None = None,
    negative_context: AbstractContextManager[Any] | None = None,
    negative_model: Any = None,
    names: tuple[str, str] = ("positive", "negative"),
    probe_rows: int = 2048,
    attribution_spans: int = 256,
    batch_tokens: int = 8192,
    seed: int = 0,
) -> pd.DataFrame:
    """Score every feature of an SAE by how it differs between two conditions. Streams; memory does not grow with it.

    Args:
        model: a transformers causal LM or a TransformerBridge.
        positive: spans of one condition (`Span.last(ids)` for prompts); generators are read once.
        negative: spans of the other.
        scorers: names from `SCORERS`, functions of your own (`saes.discovery.functions`), or references to them:
            `my_scorer.py:score`. Default: contrast, auroc and probe; attribution, patching and dla
            if `logit_difference` is given; reason_score if `words` are.
        logit_difference: token ids (a, b), or a function from a span to them: what the attributions explain.
        words: {name: spellings as token ids} for reason_score, with `window` = tokens (before, after).
        positive_context: opened once, while the positive spans run, such as `policy.apply()` of a policy with trained
            weights on the same model. Layers above the SAE's run only for the attributions.
        negative_context: the same for the negative spans.
        negative_model: the model the negative spans run through, if another.
        names: what messages and `attrs` call the conditions.
        probe_rows: residuals per condition for the probe, drawn by the identity (seed, span, position).
        attribution_spans: spans per condition for the attributions, drawn likewise.
        batch_tokens: padded tokens per forward pass.

    Returns:
        One row per feature (index `feature`), best rank of the first scorer first: `mean_*`, `density_*` and `count_*`
        per condition (`positive`, `negative`), `density` over both, every scorer's columns, and `rank_*` (1 is most
        positive; ties share). `attrs` (plain data): conditions with n and text hashes, the SAE and its hash, what each
        score means, the probe's cross-validation, the seed.

    Raises:
        ElicitError: an empty condition, a span outside its sequence, NaN activations, an unknown scorer, one that lacks
            its argument, an SAE that does not fit the model.
    """
    import pandas as pd

    functions = find_function_scorers(scorers)
    chosen = _select_scorers(
        None if scorers is None else [name_scorer(scorer) for scorer in scorers], logit_difference, words, functions
    )
    other = model if negative_model is None else negative_model
    check_match(model, sae, "the model")
    check_match(other, sae, "negative_model")
    windows = WordWindows(words or {}, window, sae.d_sae) if "reason_score" in chosen else None
    sides = []
    for name, through, spans, context in (
        (names[0], model, positive, positive_context or nullcontext()),
        (names[1], other, negative, negative_context or nullcontext()),
    ):
        side = _ConditionStatistics(
            name,
            Moments(sae.d_sae),
            ActivationValues(sae.d_sae) if "auroc" in chosen else None,
            RowSample(probe_rows, seed) if "probe" in chosen or functions else None,
            SpanSample(attribution_spans, seed) if set(_OF_LOGITS) & set(chosen) else None,
        )
        with context:
            for active in encode_spans(through, sae, spans, where=name, batch_tokens=batch_tokens):
                side.add(active)
                if windows is not None:
                    windows.add(active)
            if side.moments.spans == 0:
                raise ElicitError(f"saes.discover: the {name} condition holds no span. Give at least one.")
            if side.spans is not None and logit_difference is not None:
                # Gradients keep what the upper layers compute: smaller batches.
                side.attributed = attribute_spans(
                    through, sae, side.spans.get_spans(), logit_difference, batch_tokens=max(1, batch_tokens // 4)
                )
        sides.append(side)

    columns, notes = _compute_score_columns(chosen, sides[0], sides[1], windows, sae, seed)
    figures = [_get_figures(side) for side in sides]
    for name, function in functions.items():
        columns[name] = compute_function_score(name, function, figures[0], figures[1], sae)
    table = pd.DataFrame(
        _build_level_columns(sides[0].moments, sides[1].moments) | columns,
        index=pd.RangeIndex(sae.d_sae, name="feature"),
    )
    for scorer in chosen:
        table[f"rank_{scorer}"] = table[scorer].rank(ascending=False, method="min").astype("Int64")
    table = table.sort_values(f"rank_{chosen[0]}", kind="stable")
    attrs: dict[Any, Any] = {
        "conditions": {"positive": sides[0].to_json(), "negative": sides[1].to_json()},
        "sae": sae.name,
        "sae_sha256": sae.sha256,
        "model": sae.manifest.model,
        "layer": sae.layer,
        "scores": {scorer: SCORERS.get(scorer, "a function of your own") for scorer in chosen},
        "seed": seed,
    }
    table.attrs = attrs | notes
    return table


def agreement(table: pd.DataFrame, *, top: int = 10) -> pd.DataFrame:
    """Agreement of the scorers of a `discover` table, pair by pair.

    Over the features that were active in either condition (the others tie everywhere and would feign agreement):
    Spearman's rank correlation, and how many features are among the `top` best of both scorers. Features that tie
    across that bound are not among the best: a probe that uses 3 features has 3, whatever `top` is.

    Returns:
        Index (scorer, other); columns `spearman` (NaN where a scorer is constant), `shared` (of both scorers' best),
        `most` (how many could be shared), `n` (features compared).

    Raises:
        ElicitError: a table without scores.
    """
    import pandas as pd
    from scipy import stats

    scorers = list(table.attrs.get("scores", {}))
    if not scorers:
        raise ElicitError("saes.agreement: the table has no scores; expected what saes.discover returned.")
    live = table[(table["count_positive"] > 0) | (table["count_negative"] > 0)]
    rows = {}
    for first, second in combinations(scorers, 2):
        pair = live[[first, second]].dropna()
        varied = len(pair) > 1 and all(pair[column].nunique() > 1 for column in (first, second))
        # "max" gives tied features the rank of their last.
        best = [set(pair.index[pair[column].rank(ascending=False, method="max") <= top]) for column in (first, second)]
        rows[first, second] = {
            "spearman": float(stats.spearmanr(pair[first], pair[second]).statistic) if varied else float("nan"),
            "shared": len(best[0] & best[1]),
            "most": min(map(len, best)),
            "n": len(pair),
        }
    index = pd.MultiIndex.from_tuples(list(rows), names=["scorer", "other"]) if rows else None
    return pd.DataFrame(list(rows.values()), index=index, columns=["spearman", "shared", "most", "n"])


def _select_scorers(
    scorers: Sequence[str] | None,
    logit_difference: LogitDifference | None,
    words: Words | None,
    functions: Mapping[str, Scorer],
) -> list[str]:
    if scorers is None:
        defaults = {"contrast", "auroc", "probe"}
        defaults |= set(_OF_LOGITS) if logit_difference is not None else set()
        defaults |= {"reason_score"} if words is not None else set()
        return [name for name in SCORERS if name in defaults]
    if not scorers:
        raise ElicitError(f"saes.discover: scorers is {scorers!r}; expected a list of names from {', '.join(SCORERS)}.")
    for name in scorers:
        if name in functions:
            continue
        if name not in SCORERS:
            raise unknown_name_error("scorer", name, SCORERS, where="saes.discover")
        if name in _OF_LOGITS and logit_difference is None:
            raise ElicitError(f"saes.discover: scorer {name!r} needs logit_difference=(token id a, token id b).")
        if name == "reason_score" and words is None:
            raise ElicitError("saes.discover: scorer 'reason_score' needs words={name: [token ids, ...]}.")
    return list(dict.fromkeys(scorers))


def _get_figures(side: _ConditionStatistics) -> ConditionFigures:
    rows = [] if side.rows is None else side.rows.get_rows()
    return ConditionFigures(side.name, side.moments.mean, side.moments.density, side.moments.tokens, rows)


def _build_level_columns(positive: Moments, negative: Moments) -> dict[str, np.ndarray]:
    counts = (positive.counts + negative.counts).numpy()
    return {
        "mean_positive": positive.mean,
        "mean_negative": negative.mean,
        "density_positive": positive.density,
        "density_negative": negative.density,
        "count_positive": positive.counts.numpy(),
        "count_negative": negative.counts.numpy(),
        "density": counts / (positive.tokens + negative.tokens),
    }


def _compute_score_columns(
    chosen: Sequence[str],
    positive: _ConditionStatistics,
    negative: _ConditionStatistics,
    windows: WordWindows | None,
    sae: SAE,
    seed: int,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    columns: dict[str, np.ndarray] = {}
    notes: dict[str, Any] = {}
    if "contrast" in chosen:
        columns |= compute_contrast(positive.moments, negative.moments)
    if positive.values is not None and negative.values is not None:
        columns |= compute_auroc(positive.values, negative.values)
        notes["auroc_exact"] = positive.values.grid is None
    if "probe" in chosen and positive.rows is not None and negative.rows is not None:
        from saes.discovery.probe import fit_probe

        norms = sae.directions.norm(dim=1).double().cpu().numpy()
        fitted = fit_probe(positive.rows.get_rows(), negative.rows.get_rows(), norms, seed=seed)
        columns["probe"], notes["probe"] = fitted.coefficients, fitted.summary
    if positive.attributed is not None and negative.attributed is not None:
        columns["attribution"] = positive.attributed.attribution - negative.attributed.attribution
        columns["patching"] = (positive.moments.mean - negative.moments.mean) * negative.attributed.slope
        columns["dla"] = positive.attributed.dla - negative.attributed.dla
        for name in set(_OF_LOGITS) - set(chosen):
            del columns[name]
        notes["logit_difference"] = {
            side: {"mean": part.difference, "spans": part.spans}
            for side, part in (("positive", positive.attributed), ("negative", negative.attributed))
        }
    if windows is not None:
        columns |= compute_reason_score(windows)
        notes["words"] = {word: int(n) for word, n in zip(windows.words, windows.tokens, strict=False)}
    return columns, notes

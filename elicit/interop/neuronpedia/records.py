"""One feature as a row of Neuronpedia's table Neuron, and its examples as rows of Activation.

Where a field has no counterpart here it is empty, never invented: correlations with neurons (a residual stream has
none) and weights of attention heads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from saes.dashboard import Activity, Band, Example, Study, Vocabulary

#: Bars of the histogram of activations, and entries of a decoder row that are listed.
_BARS, _ALIGNED = 50, 3
Record = dict[str, Any]


class Address(NamedTuple):
    """Where the rows belong on Neuronpedia, and who made them."""

    model_id: str
    source_set: str
    layer: int
    creator_id: str
    created_at: str
    """ISO 8601."""

    @property
    def source_id(self) -> str:
        """Neuronpedia's column `layer`: the layer's number before the name of the source set."""
        return f"{self.layer}-{self.source_set}"


def build_feature_record(study: Study, feature: int, address: Address) -> Record:
    """A row of Neuron. The decoder row is the vector, at its own length; its default strength is `maxActApprox`."""
    activity, sae = study.collected.get_activity(feature), study.sae
    effect = study.lens.get_effect(feature) if study.lens is not None else None
    row = sae.directions[feature].float().numpy()
    aligned = np.argsort(-np.abs(row), kind="stable")[:_ALIGNED]
    nearest = study.find_nearest(feature)
    heights, values = _rebin_activations(activity)
    raised, lowered = (effect.raised, effect.lowered) if effect else ((), ())
    words = study.vocabulary
    return {
        "modelId": address.model_id,
        "layer": address.source_id,
        "index": str(feature),
        "sourceSetName": address.source_set,
        "creatorId": address.creator_id,
        "createdAt": address.created_at,
        "maxActApprox": float(activity.maximum) if activity.count else 0.0,
        "hasVector": True,
        "vector": [float(value) for value in row],
        "vectorLabel": None,
        "vectorDefaultSteerStrength": float(activity.maximum) if activity.count else 0.0,
        "hookName": sae.manifest.hook,
        "topkCosSimIndices": [other.feature for other in nearest],
        "topkCosSimValues": [other.value for other in nearest],
        "neuron_alignment_indices": [int(i) for i in aligned],
        "neuron_alignment_values": [float(row[i]) for i in aligned],
        "neuron_alignment_l1": [float(abs(row[i]) / np.abs(row).sum()) for i in aligned],
        "correlated_neurons_indices": [],
        "correlated_neurons_pearson": [],
        "correlated_neurons_l1": [],
        "correlated_features_indices": [],
        "correlated_features_pearson": [],
        "correlated_features_l1": [],
        "neg_str": [_clean_token(words, i) for i, _ in lowered],
        "neg_values": [value for _, value in lowered],
        "pos_str": [_clean_token(words, i) for i, _ in raised],
        "pos_values": [value for _, value in raised],
        "frac_nonzero": activity.density,
        "freq_hist_data_bar_heights": heights,
        "freq_hist_data_bar_values": values,
        "logits_hist_data_bar_heights": [float(count) for count in effect.counts] if effect else [],
        "logits_hist_data_bar_values": [float(v) for v in (effect.edges[1:] + effect.edges[:-1]) / 2] if effect else [],
        "decoder_weights_dist": [],
    }


def build_activation_records(study: Study, feature: int, address: Address) -> list[Record]:
    """Rows of Activation: the top examples, then those of the bands between quantiles of the firings.

    As SAEDashboard marks them: `binMin` and `binContains` are -1 for top examples, and `binMax` the largest activation.
    """
    activity = study.collected.get_activity(feature)
    groups: Iterable[tuple[tuple[float, float, float], tuple[Example, ...]]] = [
        ((-1.0, float(activity.maximum), -1.0), activity.top),
        *((_describe_band(band), band.examples) for band in activity.bands),
    ]
    records: list[Record] = []
    for (low, high, share), examples in groups:
        for example in examples:
            # The first token of a sequence is not read by the SAE; Neuronpedia has no sign for that but 0.
            values = [0.0 if value != value else float(value) for value in example.activations]
            largest = max(values)
            records.append(
                {
                    "id": _make_id(address, feature, len(records)),
                    "tokens": [_clean_token(study.vocabulary, i) for i in example.ids],
                    "index": str(feature),
                    "layer": address.source_id,
                    "modelId": address.model_id,
                    "maxValue": largest,
                    "maxValueTokenIndex": values.index(largest),
                    "minValue": min(values),
                    "values": values,
                    "creatorId": address.creator_id,
                    "createdAt": address.created_at,
                    "dataSource": None,
                    "dataIndex": None,
                    "dfaValues": [],
                    "dfaTargetIndex": None,
                    "dfaMaxValue": None,
                    "lossValues": [],
                    "logitContributions": None,
                    "binMin": low,
                    "binMax": high,
                    "binContains": share,
                    "qualifyingTokenIndex": example.peak,
                }
            )
    return records


def _describe_band(band: Band) -> tuple[float, float, float]:
    below, above = band.quantiles
    return float(band.low), float(band.high), above - below


def _rebin_activations(activity: Activity) -> tuple[list[float], list[float]]:
    """Heights and middles of bars of equal width from 0 to the largest activation; the heights sum to the firings.

    The counts are in logarithmic bins of 2 %; each is spread evenly over its width, so that heights are not whole.
    """
    from saes.dashboard.histogram import get_lower_edge

    if not activity.count:
        return [], []
    logarithmic = np.array([get_lower_edge(i) for i in range(len(activity.histogram) + 1)])
    below = np.concatenate([[0], np.cumsum(activity.histogram)])
    edges = np.linspace(0, activity.maximum, _BARS + 1)
    counts = np.interp(edges, logarithmic, below)
    counts[0], counts[-1] = 0, activity.count
    return [float(h) for h in np.diff(counts)], [float(v) for v in (edges[1:] + edges[:-1]) / 2]


def _clean_token(words: Vocabulary, token: int) -> str:
    """A token's text as a database takes it: Postgres refuses NUL, and UTF-8 half of a surrogate pair."""
    return words.text(token).encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _make_id(address: Address, feature: int, number: int) -> str:
    """25 characters as Neuronpedia's own ids have; the same for the same feature, so that an import replaces."""
    identity = f"{address.model_id}/{address.source_id}/{feature}/{number}"
    return "c" + hashlib.sha256(identity.encode()).hexdigest()[:24]

"""What the controls may say, the table they search, and what a grid holds."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.panel import comparison
from elicit.panel.edits import StrengthScale, measure_scale, strength_unit
from elicit.panel.features import LARGEST, feature_table_to_json
from elicit.panel.setting import Setting, apply_changes
from elicit.panel.strengths import compare_strengths
from elicit.sampling import Decoding
from elicit.steering import feature_edit
from elicit.text import script_json
from tests.panel.support import small_sae
from tests.support.models import tiny_model

#: A busy machine is slow, not wrong.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
START = Setting(0, 0, 1.0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["sae", "feature", "strength", "mode", "positions", "seed", "temperature", "prompt"]


@UNHURRIED
@given(st.dictionaries(st.sampled_from([*FIELDS, "strenght"]), JSON, max_size=4))
def test_any_wish_is_a_setting_or_one_clear_line(changes: dict[str, object]) -> None:
    try:
        found = apply_changes(START, changes, saes=["a", "b"])
    except ElicitError:
        return
    assert "strenght" not in changes
    assert found.feature >= 0
    assert math.isfinite(found.strength)
    assert found.sae in (0, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strenght": 2}, "unknown panel field 'strenght'. Did you mean 'strength'?"),
        ({"sae": "cued/L2"}, "unknown SAE of this panel 'cued/L2'. Did you mean 'cued/L1'? Known: cued/L1."),
        ({"sae": 1}, "panel: unknown SAE 1; this panel has 1."),
        ({"feature": 1.5}, "panel: feature is 1.5; expected a whole number from 0."),
        ({"strength": "2"}, "panel: strength is '2'; expected a number."),
        ({"temperature": -1}, "panel: temperature is -1; expected 0 (greedy) or more."),
        ({"prompt": ""}, "panel: the prompt is empty. Type one, or go back to the given prompts."),
        ({"positions": "frist"}, "positions: 'frist' is not a position form."),
        ({"mode": "set"}, "unknown steering mode 'set'."),
    ],
)
def test_what_is_wrong_with_a_wish(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ElicitError) as caught:
        apply_changes(START, changes, saes=["cued/L1"])
    assert str(caught.value).startswith(message)


@UNHURRIED
@given(st.text(st.characters(codec=None)))
def test_any_text_crosses_as_it_is(text: str) -> None:
    """Half surrogate pairs, NUL, markup: as ASCII that cannot end a script element."""
    sent = script_json({"text": text})
    assert sent.isascii()
    assert not set(sent) & set("<>&")
    assert json.loads(sent) == {"text": text}


def test_a_table_becomes_words_and_scores() -> None:
    columns = {"label": ["digits", None, "end"], "top": [["7", "<b>"], [], ["#"]]}
    table = pd.DataFrame({**columns, "auroc": [0.5, math.nan, 0.987654], "n": [1, 2, 3]}, index=[7, 0, 3])
    found = feature_table_to_json(table, 8)
    assert found["scores"] == ["auroc", "n"]
    assert found["rows"] == [[3, "end · #", 0.9877, 3.0], [7, "digits · 7 <b>", 0.5, 1.0], [0, "", None, 2.0]]
    assert [row[0] for row in feature_table_to_json(table, 8, sort="n")["rows"]] == [3, 0, 7]
    table.attrs["scores"] = {"auroc": "what saes.discover says of its scorers"}
    assert feature_table_to_json(table.assign(density=0.5), 8)["scores"] == ["auroc", "density"]
    with pytest.raises(ElicitError, match=r"no column of numbers 'top'\. Its scores: auroc\."):
        feature_table_to_json(table, 8, sort="top")
    with pytest.raises(ElicitError, match=r"the table's index holds 7; expected feature numbers from 0 to 6"):
        feature_table_to_json(table, 7)


def test_of_a_long_table_the_largest_travel() -> None:
    table = pd.DataFrame({"score": range(LARGEST + 10)})
    found = feature_table_to_json(table, LARGEST + 10)
    assert (len(found["rows"]), found["total"]) == (LARGEST, LARGEST + 10)
    assert found["rows"][-1][0] == 10


def test_a_grid_holds_what_compare_says_at_every_strength() -> None:
    model = tiny_model()
    sae = small_sae(model)
    decoding = Decoding(temperature=1.0, max_new_tokens=6)
    edits = {
        "one": feature_edit(sae.feature(1), 1.0, unit=3.0),
        "gone": feature_edit(sae.feature(2), 1.0, unit=1.0, mode="ablate"),
    }
    found = compare_strengths(model, edits, [2, -1, 2], ["ab", "cd"], decoding=decoding, seed=3)
    assert [[point.strength for point in series.points] for series in found.series] == [[-1, 2], [1]]
    for strength, absolute, result in found.series[0].points:
        edit = feature_edit(sae.feature(1), strength, unit=3.0)
        assert absolute == edit.absolute
        assert result == comparison.compare_side_by_side(model, [edit], ["ab", "cd"], decoding=decoding, seed=3)
    with pytest.raises(ElicitError, match=r"^grid: give at least one edit, one strength and one prompt\.$"):
        compare_strengths(model, edits, [], ["ab"])


def test_units() -> None:
    """add: residual norms; clamp: the feature's median value under the cue, by hand; scale: a factor."""
    model = tiny_model()
    sae = small_sae(model)
    cues = ["ab", "cde", "f g"]
    scale = StrengthScale(measure_scale(model, None).norms, model.residuals(cues))
    norm = model.residual_norms.medians[sae.layer]
    kinds = set()
    for index in range(sae.d_sae):
        feature = sae.feature(index)
        alone = [model.residuals([cue])[sae.layer, 0] for cue in cues]
        values = sorted(float(feature.activation(h) * feature.norm) for h in alone)
        assert strength_unit(scale, feature, "add") == (norm, "residual norms")
        assert strength_unit(scale, feature, "scale").size == 1
        size, words = strength_unit(scale, feature, "clamp")
        kinds.add(words)
        if values[1] > 0:
            assert (size, words) == (pytest.approx(values[1], rel=1e-4), "median cued values")
        else:
            assert (size, words) == (norm, "residual norms")
    assert len(kinds) == 2  # the draw holds features of both kinds

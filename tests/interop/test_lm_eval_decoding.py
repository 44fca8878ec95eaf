"""The rule of who decides what of a request's decoding."""

from __future__ import annotations

from typing import Any

import pytest

from elicit.errors import ElicitError
from elicit.interop.lm_eval.decoding import overrides_sampling, resolve_decoding
from elicit.sampling import Decoding

GREEDY = Decoding(max_new_tokens=40, stop=("\n",))
HOT = Decoding(temperature=0.7, top_p=0.9, max_new_tokens=40, stop=("\n",))
LM_EVAL_DEFAULT = {"temperature": 0.0, "do_sample": False, "max_gen_toks": 256, "until": ["\n\n"]}


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        (HOT, {}, HOT),
        (HOT, {"until": []}, HOT),
        (HOT, {"until": [""], "num_beams": 1, "top_k": None}, HOT),
        (GREEDY, {"until": "Q:"}, GREEDY.replace(stop=("Q:",))),
        (GREEDY, {"max_new_tokens": 7, "max_gen_toks": 9}, GREEDY.replace(max_new_tokens=9)),
        (GREEDY, {"max_tokens": "12"}, GREEDY.replace(max_new_tokens=12)),
        (HOT, LM_EVAL_DEFAULT, Decoding(max_new_tokens=256, stop=("\n\n",))),
        (HOT, {"do_sample": False, "temperature": 0.4}, GREEDY),
        (HOT, {"temperature": 0}, GREEDY),
        (GREEDY, {"top_p": 0.5}, GREEDY),
        (GREEDY, {"do_sample": True}, GREEDY.replace(temperature=1.0)),
        (GREEDY, {"temperature": 0.6, "top_k": 20.0}, GREEDY.replace(temperature=0.6, top_k=20)),
        (HOT, {"do_sample": True, "min_p": 0.1}, HOT.replace(min_p=0.1)),
        (HOT, {"temperature": 1.2, "top_p": 0}, HOT.replace(temperature=1.2, top_p=None)),
    ],
)
def test_a_request_decides_what_it_names(own: Decoding, asked: dict[str, Any], expected: Decoding) -> None:
    assert resolve_decoding(own, asked, keep_sampling=False) == expected


def test_a_search_keeps_its_sampling_and_takes_stops_and_length() -> None:
    assert resolve_decoding(HOT, LM_EVAL_DEFAULT, keep_sampling=True) == HOT.replace(max_new_tokens=256, stop=("\n\n",))


def test_taking_away_how_a_policy_samples_is_noticed() -> None:
    assert overrides_sampling(HOT, LM_EVAL_DEFAULT)
    assert not overrides_sampling(GREEDY, LM_EVAL_DEFAULT)
    assert not overrides_sampling(HOT, {"until": ["x"], "max_gen_toks": 3})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_length": 20}, "unknown generation argument 'max_length'"),
        ({"num_beams": 4}, "unknown generation argument 'num_beams'"),
        ({"temprature": 1}, "Did you mean 'temperature'"),
        ({"do_sample": True, "temperature": 0.0}, "do_sample is true but temperature is 0"),
        ({"max_gen_toks": "many"}, "expected a number"),
        ({"until": [3]}, "expected text"),
        ({"temperature": -1.0, "do_sample": True}, "expected 0"),
        ({"max_gen_toks": 0}, "expected at least 1"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ElicitError, match=message):
        resolve_decoding(HOT, asked, keep_sampling=False)

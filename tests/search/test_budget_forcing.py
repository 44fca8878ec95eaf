"""Budget forcing token by token: a scripted model, so that every ending, wait and forced answer is known."""

from __future__ import annotations

import pytest

from elicit.errors import ElicitError
from elicit.methods.decoding.budget_forcing import BudgetForcingSearch
from elicit.sampling import Decoding
from tests.search.support import LastTwo, Scripted, asks
from tests.support.models import tiny_model

#: After the prompt "q" the model would say "xy#7." and end; after a wait it thinks "zz" and comes to "#8.".
TABLE = {
    "": {"x": 0.9, "#": 0.1},
    "x": {"y": 0.9, "z": 0.1},
    "xy": {"#": 0.6, "<eos>": 0.3, "z": 0.1},
    "xy#": {"7": 1.0},
    "xyW": {"z": 1.0},
    "xyWz": {"z": 1.0},
    "xyWzz": {"#": 1.0},
    "xyWzz#": {"8": 1.0},
    "xyz": {"#": 1.0},
    "xyz#": {"9": 1.0},
    "x=": {"5": 1.0},
    "xy=": {"6": 1.0},
    "xyWz=": {"4": 1.0},
}


def script(text: str) -> dict[str, float]:
    return TABLE.get(text.removeprefix("q"), {"<eos>": 1.0})


def run(search: BudgetForcingSearch, longest: int = 12, stop: tuple[str, ...] = ()):
    model = tiny_model()
    forward = Scripted(model.tokenizer, script)
    (found,) = search.run(model, asks(model, ["q"]), Decoding(max_new_tokens=longest, stop=stop), LastTwo(), forward)
    return found, model.tokenizer.convert_ids_to_tokens(list(found.ids))


def test_without_limits_the_model_speaks_as_it_would():
    found, tokens = run(BudgetForcingSearch("#", "W", "="))
    assert tokens == [*"xy#7", "<eos>"]
    assert (found.text, found.tokens, found.finished) == ("xy#7", 5, True)
    assert found.notes == {"waits": 0, "thinking": 2, "forced": 0}


def test_an_early_ending_is_taken_back_and_a_wait_put_in_its_place():
    found, tokens = run(BudgetForcingSearch("#", "W", "=", min_tokens=3))
    assert tokens == [*"xyWzz#8", "<eos>"]
    assert found.tokens == len("xy#") + len("W") + len("zz#8") + 1, "the mark that was taken back is paid for"
    assert found.notes == {"waits": 1, "thinking": 5, "forced": 0}


def test_without_a_wait_the_ending_is_ruled_out():
    """At "xy" the mark is the most probable token, the end token comes next, and both are endings: "z" is left."""
    found, tokens = run(BudgetForcingSearch("#", "", "=", min_tokens=3))
    assert tokens == [*"xyz#9", "<eos>"]
    assert found.tokens == len("xy#") + len("<") + len("z#9") + 1
    assert found.notes == {"waits": 2, "thinking": 3, "forced": 0}


def test_waits_may_be_limited():
    found, tokens = run(BudgetForcingSearch("#", "W", "=", min_tokens=8, max_waits=1))
    assert tokens == [*"xyWzz#8", "<eos>"]
    assert found.notes["waits"] == 1
    found, tokens = run(BudgetForcingSearch("#", "W", "=", min_tokens=8, max_waits=0))
    assert tokens == [*"xy#7", "<eos>"]


def test_at_the_limit_the_answer_is_forced():
    found, tokens = run(BudgetForcingSearch("#", "W", "=", max_tokens=1))
    assert tokens == [*"x=5", "<eos>"]
    assert (found.text, found.tokens, found.finished) == ("x=5", 4, True), "the forced token is paid for"
    assert found.notes == {"waits": 0, "thinking": 1, "forced": 1}


def test_a_wait_that_reaches_the_limit_is_cut_there():
    found, tokens = run(BudgetForcingSearch("#", "W", "=", min_tokens=4, max_tokens=4))
    assert tokens == [*"xyWz=4", "<eos>"]
    found, tokens = run(BudgetForcingSearch("#", "WWWW", "=", min_tokens=4, max_tokens=4))
    assert tokens == [*"xyWW=", "<eos>"]
    assert found.notes == {"waits": 1, "thinking": 4, "forced": 1}


def test_a_model_that_stops_by_itself_is_done_after_enough_thinking():
    found, tokens = run(BudgetForcingSearch("!", "W", "=", min_tokens=2), stop=("#",))
    assert tokens == [*"xy#"]
    assert (found.text, found.finished, found.tokens) == ("xy", True, 3)
    found, tokens = run(BudgetForcingSearch("!", "W", "=", min_tokens=3), stop=("#",))
    assert tokens == [*"xyWzz#"], "a stop string that comes too early is suppressed like any ending"


def test_a_completion_that_is_cut_is_not_finished():
    found, tokens = run(BudgetForcingSearch("#", "W", "="), longest=2)
    assert (tokens, found.text, found.finished) == ([*"xy"], "xy", False)
    found, tokens = run(BudgetForcingSearch("#", "W", "="), longest=3)
    assert (tokens, found.text, found.finished) == ([*"xy#"], "xy#", False)


def test_bad_input_is_said_in_one_line():
    for options, message in [
        ({"end": ""}, "end is empty"),
        ({"answer": ""}, "answer is empty"),
        ({"wait": "a#"}, "wait 'a#' holds the end mark '#'"),
        (
            {"min_tokens": 5, "max_tokens": 4},
            "min_tokens is 5 and max_tokens 4; expected 0 <= min_tokens",
        ),
    ]:
        with pytest.raises(ElicitError, match=message):
            BudgetForcingSearch(**{"end": "#", "wait": "W", "answer": "=", **options})
    with pytest.raises(ElicitError, match=r"no room for an answer\. Give at most 10"):
        run(BudgetForcingSearch("#", "W", "=", max_tokens=12))
    with pytest.raises(ElicitError, match="wait 'W' holds one of the stop strings"):
        run(BudgetForcingSearch("#", "W", "="), stop=("W",))

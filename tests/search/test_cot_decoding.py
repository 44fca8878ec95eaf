"""CoT-decoding: by hand, and against plain loops over transformers without a cache."""

from __future__ import annotations

import numpy as np
import pytest

from elicit.errors import ElicitError
from elicit.methods.decoding.cot_decoding import CotDecodingSearch, CotPath
from elicit.sampling import PLAIN, Completion, Decoding, Request, generate
from elicit.search import Query
from elicit.tasks.families.addition import Addition
from elicit.tasks.generated.task import GeneratedTask
from tests.search.support import LastTwo, Scripted, asks, greedy_paths
from tests.support.models import tiny_model

PROMPTS = ["ab", "the cat", "1+2=3 and so on", "x", "a longer prompt, longer than a window of eight"]


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])
def test_paths_and_scores_are_those_of_a_plain_loop(arch):
    model, task, k, longest = tiny_model(arch), LastTwo(), 6, 12
    model.hf.generation_config.eos_token_id = [2, *range(20, 28)]  # so that paths end at different lengths
    highest, aggregate = CotDecodingSearch(k, "max"), CotDecodingSearch(k, "aggregate")
    questions, decoding = asks(model, PROMPTS), Decoding(max_new_tokens=longest)
    found = highest.generate_paths(model, questions, decoding, task, PLAIN)
    answers = [search.run(model, questions, decoding, task, PLAIN) for search in (highest, aggregate)]
    lengths = set()
    for question, mine, *answered in zip(questions, found, *answers, strict=True):
        theirs = greedy_paths(model, question.ids, k, longest)
        assert [path.completion.tokens for path in mine] == [tuple(tokens) for tokens, _ in theirs]
        best: dict[str, float] = {}
        sums: dict[str, float] = {}
        for path, (tokens, margins) in zip(mine, theirs, strict=True):
            text = model.tokenizer.decode(tokens, skip_special_tokens=True)
            assert path.completion.measured == pytest.approx(margins, abs=1e-5)
            lengths.add(len(tokens))
            if len(text) < 2:
                assert path.score is None
                continue
            body = len(tokens) - (tokens[-1] == model.tokenizer.eos_token_id)
            score = (margins[body - 2] + margins[body - 1]) / 2
            assert path.score == pytest.approx(score, abs=1e-5)
            best[text[-2:]] = max(best.get(text[-2:], 0.0), score)
            sums[text[-2:]] = sums.get(text[-2:], 0.0) + score
        for answer, scores in zip(answered, (best, sums), strict=True):
            assert answer.text[-2:] == max(scores, key=scores.get)
            assert answer.tokens == sum(len(tokens) for tokens, _ in theirs)
    assert len(lengths) > 1, "every path ran to the limit: none ended by itself"


DICE = np.random.default_rng(0)


def test_the_score_is_that_of_the_answers_tokens_and_no_others():
    """Every token of the path has a margin of its own, so that being off by one, or averaging over all, shows."""
    model = tiny_model()
    task = GeneratedTask(Addition())
    problem = task.make_problem((47, 38))

    def script(text: str) -> dict[str, float]:
        said = text.removeprefix(problem.prompt)
        table = {
            "": {"a": 0.5, "#": 0.3, "b": 0.2},  # margin 0.2
            "a": {"#": 0.6, "b": 0.3, "c": 0.1},  # 0.3
            "a#": {"8": 0.7, "b": 0.1, "c": 0.2},  # 0.5
            "a#8": {"5": 0.5, "b": 0.46, "c": 0.04},  # 0.04
            "a#85": {"<eos>": 0.9, "b": 0.05, "c": 0.05},  # 0.85
            "#": {"9": 0.5, "b": 0.4, "c": 0.1},  # 0.1
            "#9": {"<eos>": 0.99, "b": 0.01},  # 0.98
            "b": {"<eos>": 1.0},
        }
        return table[said]

    search = CotDecodingSearch(3)
    ask = Query(problem, model.encode(problem.prompt), 0, "", (0,))
    forward = Scripted(model.tokenizer, script)
    (paths,) = search.generate_paths(model, [ask], Decoding(max_new_tokens=8), task, forward)
    assert [path.completion.text for path in paths] == ["a#85", "#9", "b"]
    assert [path.answer for path in paths] == ["85", "9", None]
    assert [path.answer_tokens for path in paths] == [(2, 3), (1,), ()]
    assert [path.score for path in paths] == [pytest.approx((0.5 + 0.04) / 2), pytest.approx(0.1), None]
    assert forward.prefills == [1], "the prompt is run once for all its branches"
    (answer,) = search.run(model, [ask], Decoding(max_new_tokens=8), task, forward)
    assert answer.text == "a#85"
    assert answer.tokens == 5 + 3 + 2
    assert answer.notes == {"winning_rank": 0, "paths": 3, "paths_with_answer": 2 / 3}


def test_an_answer_that_opens_the_completion_counts_its_first_token():
    """The margin of the first token is that of the step, whichever branch was taken there."""
    model = tiny_model()

    def script(text: str) -> dict[str, float]:
        return {"q": {"1": 0.6, "2": 0.4}}.get(text, {"3": 0.8, "4": 0.2} if len(text) == 2 else {"<eos>": 1.0})

    (paths,) = CotDecodingSearch(2).generate_paths(
        model, asks(model, ["q"]), Decoding(max_new_tokens=4), LastTwo(), Scripted(model.tokenizer, script)
    )
    assert [path.completion.text for path in paths] == ["13", "23"]
    assert [path.score for path in paths] == [pytest.approx((0.2 + 0.6) / 2)] * 2


def path(answer: str | None, score: float | None) -> CotPath:
    return CotPath(Completion((0,), answer or "", "eos", (0.0,), 1, 0), answer, score, (0,))


def test_max_takes_the_surest_path_and_aggregate_the_surest_answer():
    paths = [path("a", 0.5), path("b", 0.4), path(None, None), path("c", 0.6), path("b", 0.45)]
    assert CotDecodingSearch(5, "max").choose_winner(paths, DICE) == 3
    assert CotDecodingSearch(5, "aggregate").choose_winner(paths, DICE) == 4, (
        "0.85 for b beats 0.6 for c; its best path is the last"
    )
    assert CotDecodingSearch(5, "max").choose_winner([path("a", 0.5), path("b", 0.5)], DICE) == 0
    assert CotDecodingSearch(5, "aggregate").choose_winner([path(None, None), path(None, None)], DICE) == 0
    assert CotDecodingSearch(5, "max").choose_winner([path(None, None), path("b", 0.0)], DICE) == 1
    drawn = [
        CotDecodingSearch(5, "any").choose_winner([path("a", 0.1), path(None, None), path("b", 0.9)], DICE)
        for _ in range(400)
    ]
    assert set(drawn) == {0, 2}
    assert 150 < drawn.count(0) < 250, "whatever the scores, each path with an answer as often as the other"


def test_a_floor_leaves_out_first_tokens_that_never_occur():
    model = tiny_model()

    def script(text: str) -> dict[str, float]:
        return {"q": {"1": 0.9, "2": 0.09, "3": 0.01}}.get(
            text, {"4": 0.7, "5": 0.3} if len(text) < 4 else {"<eos>": 1}
        )

    forward = Scripted(model.tokenizer, script)
    for floor, opened in ((0.0, 3), (0.05, 2), (0.5, 1)):
        search = CotDecodingSearch(3, min_p=floor)
        (paths,) = search.generate_paths(model, asks(model, ["q"]), Decoding(max_new_tokens=6), LastTwo(), forward)
        assert [one.completion.text[0] for one in paths] == ["1", "2", "3"][:opened]
        (found,) = search.run(model, asks(model, ["q"]), Decoding(max_new_tokens=6), LastTwo(), forward)
        assert found.tokens == opened * 4, "a path that is not opened costs nothing"


def test_bad_input_is_said_in_one_line():
    model = tiny_model()
    with pytest.raises(ElicitError, match=r"k is 0; expected at least 1"):
        CotDecodingSearch(0)
    with pytest.raises(ElicitError, match=r"min_p is 2; expected 0 to 1"):
        CotDecodingSearch(2, min_p=2)
    with pytest.raises(ElicitError, match=r"continues greedily, but temperature is 1"):
        CotDecodingSearch(2).run(model, asks(model, ["q"]), Decoding(temperature=1.0), LastTwo(), PLAIN)
    with pytest.raises(ElicitError, match=r"k is 500, but tiny-llama can only choose among 99"):
        CotDecodingSearch(500).run(model, asks(model, ["q"]), Decoding(), LastTwo(), PLAIN)


def test_ranks_of_requests_are_kept_apart_in_a_batch():
    """Requests with ranks, without, and with tokens to avoid, in one batch and alone."""
    model = tiny_model()
    one, two, three = (model.encode(prompt) for prompt in PROMPTS[:3])
    greedy = generate(model.engine, [Request(ids, (0,)) for ids in (one, two, three)], Decoding(max_new_tokens=6))
    first = greedy[1][0].tokens[0]
    requests = [
        Request(one, (0, 0, 0), ranks=(2, 0, 1)),
        Request(two, (0,), avoid=(first,), limit=3),
        Request(three, (0,)),
    ]
    mixed = generate(model.engine, requests, Decoding(max_new_tokens=6))
    assert mixed[0][1].tokens == greedy[0][0].tokens
    assert [c.tokens[0] for c in mixed[0]] == [greedy_paths(model, one, 3, 1)[rank][0][0] for rank in (2, 0, 1)]
    assert mixed[1][0].tokens[0] == greedy_paths(model, two, 2, 1)[1][0][0]
    assert (len(mixed[1][0].tokens), mixed[1][0].finish) == (3, "length")
    assert mixed[2][0].tokens == greedy[2][0].tokens
    for i, request in enumerate(requests):
        (alone,) = generate(model.engine, [request], Decoding(max_new_tokens=6))
        assert [c.tokens for c in alone] == [c.tokens for c in mixed[i]]

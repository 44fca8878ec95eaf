"""Searches inside transformers' own `generate`, against calling them directly."""

from __future__ import annotations

import pytest
import torch

from elicit.errors import ElicitError
from elicit.sampling import PLAIN, Decoding
from elicit.search import CotDecodingSearch, PowerSamplingSearch, Query, VerifiedBestOfN, custom_generate
from elicit.tasks import Problem
from tests.search.support import LastTwo
from tests.support.models import tiny_model

PROMPTS = ["ab", "the cat", "1+2=3 and so on", "a longer prompt, longer than a window of eight"]


def batch(model):
    model.tokenizer.padding_side = "left"
    return model.tokenizer(PROMPTS, padding=True, return_tensors="pt", return_token_type_ids=False)


def last_two(text: str) -> tuple[int, int] | None:
    return (len(text) - 2, len(text)) if len(text) >= 2 else None


@pytest.mark.parametrize(
    ("search", "more"),
    [
        (CotDecodingSearch(4), {"do_sample": False}),
        (CotDecodingSearch(4, "aggregate"), {"do_sample": False}),
        (PowerSamplingSearch(2.0, block=4, steps=2), {"do_sample": False}),
    ],
)
def test_generate_gives_what_the_search_finds(search, more):
    model = tiny_model()
    inputs = batch(model)
    loop = custom_generate(search, model.tokenizer, answer=last_two, seed=3)
    out = model.hf.generate(**inputs, custom_generate=loop, max_new_tokens=12, **more)
    width = inputs["input_ids"].shape[1]
    assert torch.equal(out[:, :width], inputs["input_ids"])
    rows = [model.encode(prompt) for prompt in PROMPTS]
    asks = [Query(Problem("", "", ""), ids, 0, "", (3, "generate", ids)) for ids in rows]
    direct = search.run(model, asks, Decoding(max_new_tokens=12), LastTwo(), PLAIN)
    for row, answer in zip(out[:, width:].tolist(), direct, strict=True):
        assert tuple(row[: len(answer.ids)]) == answer.ids
        assert set(row[len(answer.ids) :]) <= {model.tokenizer.pad_token_id}


def test_without_a_search_it_is_generate():
    model = tiny_model()
    inputs = batch(model)
    ours = model.hf.generate(**inputs, custom_generate=custom_generate(None, model.tokenizer), max_new_tokens=12)
    pad = model.tokenizer.pad_token_id
    theirs = model.hf.generate(**inputs, max_new_tokens=12, do_sample=False, suppress_tokens=[pad])
    assert torch.equal(ours, theirs)


def test_sampling_options_reach_the_sampler_and_seeds_decide():
    model = tiny_model()
    inputs = batch(model)

    def run(seed, **more):
        loop = custom_generate(None, model.tokenizer, seed=seed)
        return model.hf.generate(**inputs, custom_generate=loop, max_new_tokens=8, do_sample=True, **more)

    assert torch.equal(run(0, temperature=0.9), run(0, temperature=0.9))
    assert not torch.equal(run(0), run(1))
    assert torch.equal(run(0, top_k=1), run(5, top_k=1)), "the most probable token is greedy whatever the seed"


def test_what_cannot_be_honoured_is_named():
    model = tiny_model()
    inputs = batch(model)
    loop = custom_generate(CotDecodingSearch(3), model.tokenizer, answer=last_two)
    for options, message in [
        ({"num_return_sequences": 2, "do_sample": True}, "num_return_sequences=2 is not supported"),
        ({"num_beams": 2}, "num_beams=2 is not supported"),
        ({"repetition_penalty": 1.2}, "RepetitionPenaltyLogitsProcessor is not supported"),
        ({"return_dict_in_generate": True}, "return_dict_in_generate=True is not supported"),
        ({"max_time": 1.0}, "MaxTimeCriteria is not supported"),
        ({"do_sample": True}, "cot_decoding continues greedily"),
    ]:
        with pytest.raises(ElicitError, match=message):
            model.hf.generate(**inputs, custom_generate=loop, max_new_tokens=4, **options)
    bare = custom_generate(CotDecodingSearch(3), model.tokenizer)
    with pytest.raises(ElicitError, match="Say how to find them with answer="):
        model.hf.generate(**inputs, custom_generate=bare, max_new_tokens=4)
    with pytest.raises(ElicitError, match="verified needs a task's verifier"):
        custom_generate(VerifiedBestOfN(4), model.tokenizer)


def test_stop_strings_are_given_to_the_search():
    model = tiny_model()
    inputs = batch(model)
    free = model.hf.generate(**inputs, custom_generate=custom_generate(None, model.tokenizer), max_new_tokens=12)
    width = inputs["input_ids"].shape[1]
    letter = model.tokenizer.decode(free[0, width + 2])
    loop = custom_generate(None, model.tokenizer, stop=(letter,))
    stopped = model.hf.generate(**inputs, custom_generate=loop, max_new_tokens=12)
    said = model.tokenizer.decode(stopped[0, width:], skip_special_tokens=True)
    assert said.index(letter) == len(said) - 1

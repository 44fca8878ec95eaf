"""Every tokenizer of the zoo under a random model: tokens, their text and where generation stops, by brute force."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

import pytest
import torch

from elicit.loading.continuing import PARTIAL
from elicit.model import BaseModel
from elicit.policy import Policy, Prompting
from elicit.sampling import Completion, Decoding, Request, generate
from elicit.search.spans import locate_tokens
from elicit.tasks import Problem
from elicit.tasks.families.addition import Addition
from elicit.training.supervised import example
from tests.zoo.kinds import ZOO
from tests.zoo.models import model_of

NAMES = pytest.mark.parametrize("name", ZOO)
PROMPTS = ["Question: 3 + 4?\nAnswer:", "The theory of the thing is", "The answer is"]
ADDITION = Addition()
FREE = Decoding(temperature=1.0, max_new_tokens=20)


def continued(model: BaseModel, prompt: str, tokens: tuple[int, ...]) -> str:
    """What the decoded text has behind the prompt's: PROMPTS end in a character that no byte can change."""

    def decode(ids: tuple[int, ...]) -> str:
        text = model.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    ids = model.encode(prompt)
    before, whole = decode(ids), decode(ids + tokens)
    assert whole.startswith(before)
    return whole[len(before) :]


def sampled(model: BaseModel, decoding: Decoding) -> list[tuple[str, Completion]]:
    drawn = model.sample(PROMPTS, n=2, seed=1, decoding=decoding)
    return [(prompt, one) for prompt, completions in zip(PROMPTS, drawn, strict=True) for one in completions]


@functools.cache
def free(name: str) -> list[tuple[str, Completion]]:
    """What is sampled where no stop string ends it."""
    return sampled(model_of(name), FREE)


@NAMES
def test_loading_keeps_the_tokenizer(name: str) -> None:
    """Saved and loaded, it encodes as it did; every end that the files name ends a completion."""
    model, built = model_of(name), ZOO[name].build() if "mistral" not in name and name != "tekken" else None
    if built is not None:
        for prompt in PROMPTS:
            assert model.tokenizer(prompt)["input_ids"] == built(prompt)["input_ids"]
    ends = {model.tokenizer.eos_token, *ZOO[name].ends}
    assert model.engine.end_ids >= set(model.tokenizer.convert_tokens_to_ids(list(ends)))
    assert not set(model.banned_ids) & set(model.engine.end_ids)


@NAMES
def test_text_is_that_of_the_tokens_behind_the_prompt(name: str) -> None:
    model = model_of(name)
    for prompt, completion in free(name):
        assert completion.text == continued(model, prompt, completion.tokens)
        spans = locate_tokens(model.tokenizer, completion.tokens, model.encode(prompt))
        ends = [0, *(end for _, end in spans)]
        assert ends[-1] == len(completion.text)
        assert all(a <= b for a, b in pairwise(ends))


@pytest.mark.parametrize("name", [name for name, kind in ZOO.items() if kind.more_rows])
def test_rows_that_are_no_tokens_change_nothing(name: str) -> None:
    """Drawn, scored and trained on: the same as in a copy without them."""
    model, copy = model_of(name), model_of(name, padded=False)
    tokens = set(model.tokenizer.get_vocab().values())
    drawn = free(name)
    assert drawn == sampled(copy, FREE)
    assert all(tokens.issuperset(completion.tokens) for _, completion in drawn)
    assert model.score(PROMPTS, [" 7"] * 3) == copy.score(PROMPTS, [" 7"] * 3)
    row = torch.tensor([model.encode(PROMPTS[0])])
    assert model.hf(input_ids=row, labels=row).loss == copy.hf(input_ids=row, labels=row).loss


@NAMES
def test_a_stop_string_ends_generation_where_it_is_complete(name: str) -> None:
    """At the first token with which the text holds it; the same tokens as without, up to there."""
    model = model_of(name)
    texts = "".join(completion.text for _, completion in free(name))
    stops = [" ", "\n", *{texts[i : i + length] for i in range(5, len(texts), 50) for length in (1, 2, 4)}]
    stopped = 0
    whole_stops = sorted((stop for stop in stops if PARTIAL not in stop), key=lambda stop: (len(stop), stop))
    for stop in whole_stops[:: -(-len(whole_stops) // 3)]:  # at most three, from the shortest to the longest
        ended = sampled(model, Decoding(temperature=1.0, max_new_tokens=20, stop=(stop,)))
        for (prompt, whole), (_, cut) in zip(free(name), ended, strict=True):
            counts = range(1, len(whole.tokens) + 1)
            held = (count for count in counts if stop in continued(model, prompt, whole.tokens[:count]))
            count = next(held, None)
            over = count is None or (count == len(whole.tokens) and whole.finish == "eos")
            expected = (whole.tokens, whole.finish) if over else (whole.tokens[:count], "stop")
            assert (cut.tokens, cut.finish) == expected, (stop, prompt)
            assert cut.text == continued(model, prompt, cut.tokens).partition(stop)[0]
            stopped += cut.finish == "stop"
    assert stopped


@NAMES
def test_a_special_token_named_as_a_stop_ends_generation(name: str) -> None:
    """It is no text, so that no text can hold its name."""
    model = model_of(name)
    special = {i for i, token in model.tokenizer.added_tokens_decoder.items() if token.special}
    candidates = sorted(special - set(model.engine.end_ids) - set(model.engine.banned_ids))
    if not candidates:
        pytest.skip("it has no other special tokens")
    token = candidates[-1]
    mark = str(model.tokenizer.convert_ids_to_tokens(token))
    with boosted(model, token):
        ended = sampled(model, Decoding(temperature=1.0, max_new_tokens=20, stop=(mark,)))
    hit = [completion for _, completion in ended if token in completion.tokens]
    assert hit
    assert all(one.tokens.index(token) == len(one.tokens) - 1 and one.finish == "stop" for one in hit)


class boosted:
    """The model with a token that is about as probable as all others together."""

    def __init__(self, model: BaseModel, token: int) -> None:
        self.head, self.token = model.hf.get_output_embeddings(), token

    def __enter__(self) -> None:
        def lift(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
            logits = logits.clone()
            logits[..., self.token] = logits.logsumexp(-1) - 1.5
            return logits

        self.handle = self.head.register_forward_hook(lift)

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


@NAMES
def test_openings_scores_and_training_rows_continue_the_prompt(name: str) -> None:
    """One encoding for all: that of prompt and completion together."""
    model, prompt = model_of(name), PROMPTS[0]
    joint = list(model.encode(prompt + " 7"))
    length = len(model.encode(prompt))
    row = example(model, prompt, " 7", who="sft")
    assert [*row.prompt, *row.completion[:-1]] == joint
    with torch.inference_mode():
        logits = model.hf(input_ids=torch.tensor([joint])).logits[0].float()
        logits[:, list(model.banned_ids)] = -torch.inf
        own = logits.log_softmax(-1)[torch.arange(length - 1, len(joint) - 1), torch.tensor(joint[length:])]
    torch.testing.assert_close(torch.tensor(model.score([prompt], [" 7"])[0]), own, atol=1e-4, rtol=1e-4)
    problem = Problem("0", prompt, "7", opening=" 7")
    (answer,) = Policy(model, prompting=Prompting("forced")).answer([problem], ADDITION, label="x", seed=0)
    ((greedy,),) = generate(model.engine, [Request(tuple(joint), (0,))], Decoding())
    assert (answer.prompt_tokens, answer.text) == (len(joint), " 7" + greedy.text)

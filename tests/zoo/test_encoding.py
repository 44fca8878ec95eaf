"""Every tokenizer of the zoo: prompts, completions and their text, against lm-eval's pairs and plain decoding."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from elicit.loading.continuing import decode_continuation, encode_after, encode_continuation
from elicit.loading.ends import encode_prompt
from tests.zoo import mistral
from tests.zoo.kinds import ZOO, tokenizer_of
from tests.zoo.texts import completions, prompts, steady, texts

NAMES = pytest.mark.parametrize("name", ZOO)
EVERYDAY = [
    ("Question: 3 + 4?\nAnswer:", " 7"),
    ("The answer is", " 42.\n\nThe theory"),
    ("中文：", "的答案 🙂"),
]


def spelt(tokenizer: Any, ids: tuple[int, ...]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def plain(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


@NAMES
def test_decoding_gives_back_what_was_encoded(name: str) -> None:
    """Up to the normal form that the table states."""
    tokenizer, read = tokenizer_of(name), ZOO[name].read

    @steady
    @given(texts)
    def check(text: str) -> None:
        assert spelt(tokenizer, plain(tokenizer, text)) == read(text)

    check()


@NAMES
def test_prompts_begin_with_one_bos_where_the_tokenizer_puts_it(name: str) -> None:
    tokenizer = tokenizer_of(name)
    bos = tokenizer.bos_token_id

    @steady
    @given(texts)
    def check(text: str) -> None:
        ids = encode_prompt(tokenizer, text)
        assert ids == ((bos,) if ZOO[name].bos else ()) + plain(tokenizer, text)
        if bos is not None:  # written by a template
            assert encode_prompt(tokenizer, tokenizer.bos_token + text)[:2].count(bos) == 1
            assert encode_prompt(tokenizer, tokenizer.bos_token + text) == plain(tokenizer, tokenizer.bos_token + text)

    check()


@pytest.fixture(scope="module")
def lm_eval_pairs() -> Any:
    """(tokenizer, prompt, completion) -> lm-eval's own ids of both."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface")

    class Reference(huggingface.HFLM):  # type: ignore[misc, name-defined]
        backend = "causal"
        add_bos_token = None

        def __init__(self, tokenizer: Any) -> None:  # no model: only its encoding is asked
            self.tokenizer = tokenizer
            self.custom_prefix_token_id = None

        prefix_token_id = property(lambda self: self.tokenizer.bos_token_id or self.tokenizer.eos_token_id)

        def tok_encode(self, string: str, *args: Any, **kwargs: Any) -> list[int]:
            ids = list(super().tok_encode(string, *args, **kwargs))
            return ids[:-1] if ids[-1:] == [self.tokenizer.eos_token_id] else ids  # an end that was put there

    return lambda tokenizer, *pair: Reference(tokenizer)._encode_pair(*pair)


@NAMES
def test_completions_continue_their_prompts(name: str, lm_eval_pairs: Any) -> None:
    """Ids of lm-eval where no token spans the boundary; elsewhere the text, with no character too many or too few."""
    tokenizer, read = tokenizer_of(name), ZOO[name].read
    apart = []

    @steady
    @given(prompts, completions)
    def check(prompt: str, completion: str) -> None:
        ids = encode_prompt(tokenizer, prompt)
        more = encode_after(tokenizer, ids, prompt, completion)
        assert more == encode_continuation(tokenizer, completion, prompt)
        context, continuation = lm_eval_pairs(tokenizer, prompt, completion)
        if encode_prompt(tokenizer, prompt + completion)[: len(ids)] == ids:
            apart.append(prompt)
            assert [*ids, *more] == context + continuation
            if prompt == prompt.rstrip():
                assert (list(ids), list(more)) == (context, continuation)
        # What is normalised again is normal: pieces that were encoded apart may join when they are read as one.
        assert read(spelt(tokenizer, ids + more)) == read(prompt + completion)
        added = decode_continuation(tokenizer, more, ids)
        assert read(spelt(tokenizer, ids) + added) == read(prompt + completion)

    check()
    assert len(apart) > 10, "the property was hardly ever tried"


@NAMES
@pytest.mark.parametrize(("prompt", "completion"), EVERYDAY)
def test_everyday_boundaries_are_allowed(name: str, prompt: str, completion: str, lm_eval_pairs: Any) -> None:
    tokenizer = tokenizer_of(name)
    context, continuation = lm_eval_pairs(tokenizer, prompt.rstrip(), prompt[len(prompt.rstrip()) :] + completion)
    ids = encode_prompt(tokenizer, prompt)
    assert [*ids, *encode_after(tokenizer, ids, prompt, completion)] == context + continuation


@NAMES
def test_text_without_a_known_prompt_continues_any(name: str) -> None:
    """Encoded as inside a text: behind a prompt that ends in a letter it reads as it was written."""
    tokenizer, read = tokenizer_of(name), ZOO[name].read

    @steady
    @given(completions)
    def check(text: str) -> None:
        ids = encode_continuation(tokenizer, text)
        assert read(spelt(tokenizer, plain(tokenizer, "Q") + ids)) == read("Q" + text)
        assert read("Q" + decode_continuation(tokenizer, ids)) == read("Q" + text)

    check()


@NAMES
def test_text_behind_a_control_token_is_encoded_again_as_the_same_tokens(name: str) -> None:
    """A chat's turn ends in one. Some tokenizers put their space there, too: it may not grow from turn to turn."""
    tokenizer = tokenizer_of(name)
    mark = tokenizer.eos_token

    @steady
    @given(completions)
    def check(text: str) -> None:
        prompt = "Q" + mark
        ids = encode_prompt(tokenizer, prompt)
        more = encode_after(tokenizer, ids, prompt, text)
        written = decode_continuation(tokenizer, more, ids)
        if written.strip() and tokenizer.unk_token_id not in more:
            assert encode_after(tokenizer, ids, prompt, written) == more

    check()


@pytest.mark.parametrize("name", ["mistral-v1-legacy", "mistral-v3-first"])
def test_the_real_files_encode_as_sentencepiece_does(name: str) -> None:
    """The library that the models were trained with reads the same file."""
    sentencepiece = pytest.importorskip("sentencepiece")
    path = mistral.file(mistral.V1 if name == "mistral-v1-legacy" else mistral.V3)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = tokenizer_of(name)
    for prompt, completion in [*EVERYDAY, ("Answer:", "\nSo 7"), ("Answer:\n", "7")]:
        joint = reference.encode(prompt + completion)
        assert [*encode_prompt(tokenizer, prompt), *encode_continuation(tokenizer, completion, prompt)] == [1, *joint]
        ids = encode_continuation(tokenizer, completion, prompt)
        assert decode_continuation(tokenizer, ids, encode_prompt(tokenizer, prompt)) == completion

"""Residuals that stream: against transformers' own hidden states, whatever the batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from saes import activations
from saes.activations import stream
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES

LLAMA = tiny_model("llama")
TEXTS = ["Q:12+34\nA:", "a", "the longer the text, the more of it is padding elsewhere", "Q:7*8\nA:56", "xyz"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_token_but_the_first_comes_out_once_with_its_residual(arch: str) -> None:
    model = tiny_model(arch)
    sequences = [model.encode(text) for text in TEXTS]
    seen: dict[tuple[int, int], tuple[int, torch.Tensor]] = {}
    for harvest in stream(model.hf, 1, sequences, batch_tokens=64):
        for h, token, sequence, position in zip(*harvest, strict=True):
            key = int(sequence), int(position)
            assert key not in seen
            seen[key] = int(token), h
    assert set(seen) == {(i, p) for i, ids in enumerate(sequences) for p in range(1, len(ids))}
    for number, ids in enumerate(sequences):
        with torch.no_grad():
            states = model.hf(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0]
        for position in range(1, len(ids)):
            token, h = seen[number, position]
            assert token == ids[position]
            torch.testing.assert_close(h, states[position], rtol=2e-4, atol=2e-4)


def test_a_bridge_and_its_model_give_the_same() -> None:
    sequences = [LLAMA.encode(text) for text in TEXTS]
    ours, theirs = (next(stream(model, 2, sequences)) for model in (LLAMA.hf, LLAMA.bridge))
    torch.testing.assert_close(ours.h, theirs.h, rtol=1e-4, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40), batch_tokens=st.integers(1, 200))
def test_batches_hold_every_sequence_once_and_no_more_padding_than_asked(lengths: list[int], batch_tokens: int) -> None:
    sequences = [[number] * length for number, length in enumerate(lengths)]
    seen = []
    for numbers, ids, real in activations.batch_sequences(sequences, batch_tokens=batch_tokens, model=LLAMA.hf):
        assert ids.numel() <= max(batch_tokens, ids.shape[1])
        for number, row, mask in zip(numbers, ids, real, strict=True):
            assert row[mask].tolist() == sequences[number]
            seen.append(number)
    assert sorted(seen) == list(range(len(lengths)))


def test_no_layer_above_the_one_asked_for_runs() -> None:
    ran = []
    handle = activations.find_decoder_layers(LLAMA.hf)[2].register_forward_hook(lambda *_: ran.append(2))
    try:
        list(stream(LLAMA.hf, 1, [LLAMA.encode("abc")]))
        assert not ran
        list(stream(LLAMA.hf, 2, [LLAMA.encode("abc")]))
        assert ran
    finally:
        handle.remove()


def test_nothing_stays_attached_and_an_unknown_layer_is_named() -> None:
    list(stream(LLAMA.hf, 1, [LLAMA.encode("abc")]))
    assert not any(block._forward_hooks for block in activations.find_decoder_layers(LLAMA.hf))
    with pytest.raises(ElicitError, match=r"layer 3 does not exist. Layers are 0 to 2\."):
        next(stream(LLAMA.hf, 3, [[1, 2]]))

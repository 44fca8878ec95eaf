"""The server's own algebra against the lab's: what an edit adds, where it acts, and which token a step takes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import saes
from elicit.engines.vllm_edits import write_edit
from elicit.errors import ElicitError
from elicit.sampling import Decoding
from elicit.sampling.choose import UniformStream, build_logits_processors, choose_tokens, select_by_rank
from elicit.steering import MODES, Gate, GatedEdit, Mode, Steering, feature_edit, parse, to_hook_edit
from elicit_vllm.choosing import Choice, Filters, Stream, choose
from elicit_vllm.edits import Edit, RequestError, build_edit, parse_positions

D = 128
FILTERS: list[dict[str, Any]] = [
    *({}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}),
    {"temperature": 1.3, "top_k": 20, "top_p": 0.9, "min_p": 0.01},
]
FORMS = ("all", "prompt", "generated", "first", "first:3", "decay:4")


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def read(edit: Steering | GatedEdit) -> Edit:
    """An edit through its file, as the server reads it."""
    from safetensors.torch import load

    content = write_edit(edit).content
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return build_edit(json.loads(header["__metadata__"]["edit"]), load(content), torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_what_an_edit_adds(mode: Mode, dtype: torch.dtype) -> None:
    h = randn(40, D, seed=1).to(dtype)
    edit = Steering(randn(D), 1, 1.0 if mode == "ablate" else 1.7, mode, "all", 2.5)
    assert torch.equal(read(edit).delta(h).expand_as(h), to_hook_edit(edit).delta(h).expand_as(h))


@pytest.mark.parametrize("name", ["cued/L1", "prose/L2"])
@pytest.mark.parametrize("mode", ["clamp", "scale", "ablate"])
def test_what_an_edit_of_a_feature_adds(name: str, mode: Mode) -> None:
    sae = saes.load(name)
    h = sae.directions[:400:7] * 3 + sae.decode(torch.zeros(1, sae.d_sae))
    f = sae.encode(h)
    index = int((f > 0).sum(0).argmax())
    edit = feature_edit(sae.feature(index), 1.0 if mode == "ablate" else 1.7, unit=2.5, mode=mode)
    ours, theirs = read(edit).delta(h), to_hook_edit(edit).delta(h)
    assert torch.allclose(ours, theirs, atol=1e-5)
    active = f[:, index] > 0
    assert active.any()
    assert not active.all()


def test_an_sae_that_the_server_cannot_read_is_refused() -> None:
    sae = saes.load("cued/L1")
    other = type(sae)(_Elsewhere(), sae.directions, sae.manifest, "mine", "0" * 64)
    with pytest.raises(ElicitError, match="runs in this process alone"):
        write_edit(feature_edit(other.feature(3), 1.0, unit=1.0, mode="clamp"))
    assert write_edit(feature_edit(other.feature(3), 1.0, unit=1.0)).layer == sae.layer


class _Elsewhere:
    """A coder of no kind that the lab knows."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        return feature_acts

    def to(self, *args: Any, **kwargs: Any) -> _Elsewhere:
        return self


def test_what_a_gated_edit_adds() -> None:
    h = randn(60, D, seed=2)
    edit = GatedEdit(Gate(randn(4, D, seed=3), randn(4, seed=4)), randn(3, D, seed=5), 2, 0.7, "generated", 1.5)
    ours = read(edit)
    assert ours.gates
    assert torch.equal(ours.delta(h), to_hook_edit(edit).delta(h))


@pytest.mark.parametrize("form", FORMS)
def test_where_an_edit_acts(form: str) -> None:
    offsets = np.arange(-9, 12)
    expected = parse(form).weights_at(torch.from_numpy(offsets)[None])[0].numpy()
    assert np.array_equal(parse_positions(form).weights(offsets), expected)


@pytest.mark.parametrize("form", ["last", "first:0", "first:", "decay:x", ""])
def test_unknown_positions_are_refused(form: str) -> None:
    with pytest.raises(RequestError):
        parse_positions(form)


@pytest.mark.parametrize("vocabulary", [31, 9000])
@pytest.mark.parametrize("filters", FILTERS)
def test_which_token_a_step_takes(filters: dict[str, Any], vocabulary: int) -> None:
    logits = 3 * randn(50, vocabulary, seed=6)
    keys = list(range(50))
    decoding = Decoding(**{"temperature": 1.0, **filters})
    stream, streams = UniformStream(keys), [Stream(key) for key in keys]
    for step in range(3):
        uniform = stream.draw_step(step, np.arange(50))
        for measure, place in (("margin", "margin"), ("drawn", "drawn")):
            expected = choose_tokens(logits, build_logits_processors(decoding), uniform, None, measure)  # type: ignore[arg-type]
            chosen = choose(
                logits.clone(),
                [Choice(Filters(**{"temperature": 1.0, **filters}), s.number(step)) for s in streams],
            )
            assert [c.token for c in chosen] == expected.tokens.tolist()
            assert [c.logprob for c in chosen] == pytest.approx(expected.logprobs.tolist(), abs=1e-6)
            assert expected.measured is not None
            assert [getattr(c, place) for c in chosen] == pytest.approx(expected.measured.tolist(), abs=1e-6)


def test_rows_of_different_filters_do_not_meet() -> None:
    logits = 2 * randn(6, 31, seed=7)
    kinds = [Filters(), Filters(1.0), Filters(0.5, top_k=3)]
    choices = [Choice(kinds[i % 3], 0.31 * i % 1) for i in range(6)]
    alone = [choose(logits[i : i + 1].clone(), [choice])[0] for i, choice in enumerate(choices)]
    assert choose(logits.clone(), choices) == alone


@given(st.integers(0, 2**128 - 1), st.integers(0, 300), st.integers(0, 40))
def test_a_stream_begins_anywhere(key: int, start: int, step: int) -> None:
    whole, part = Stream(key), Stream(key, start)
    assert part.number(step) == whole.number(start + step)


def test_first_tokens_by_rank_and_forbidden_ones() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, 0.0, 2.0]])
    for rank, token in enumerate(select_by_rank(logits[0], range(5), None)):
        chosen = choose(logits.clone(), [Choice(Filters(), rank=rank)])[0]
        assert chosen.token == token
        assert chosen.share == pytest.approx(float((logits[0, token] - 3.0).exp()))
    assert choose(logits.clone(), [Choice(Filters(), avoid=(1, 2))])[0].token == 4

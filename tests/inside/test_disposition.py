"""Disposition: log odds by hand, policies and steering at the right positions, padding, errors, pictures and files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import elicit
from elicit.errors import ElicitError
from elicit.inside.lenses import LogitLens, find_openings
from elicit.policy import Policy
from elicit.steering import Steering
from tests.support.families import family
from tests.support.models import tiny_model

PROMPTS = ["Q:29+70\nA:", "Q:5+8\nA:", "Q:123+456\nA:"]


def test_last_layer_is_the_models_next_token() -> None:
    """Log odds of the model's own logits, prompt by prompt without padding."""
    for arch in ("qwen3", "gemma2", "gpt2"):
        model = tiny_model(arch)
        result = LogitLens(model).disposition(PROMPTS, toward=["a", "b"], against=["1"], last=4)
        a, b, one = (model.continuation(text)[0] for text in "ab1")
        for p, prompt in enumerate(PROMPTS):
            with torch.no_grad():
                logits = model.hf(torch.tensor([list(model.encode(prompt))])).logits[0, -4:]
            expected = logits[:, [a, b]].logsumexp(-1) - logits[:, one]
            np.testing.assert_allclose(result.values["base"][p, -1], expected, rtol=1e-3, atol=1e-3)


def test_policies_are_read_under_their_own_edits() -> None:
    """A policy that steers offset 0 after layer 1 moves layers 1 and 2 at offset 0 only, by the hand-made amount."""
    model = tiny_model("llama")
    direction = torch.nn.functional.one_hot(torch.tensor(3), model.d_model).float()
    steered = Policy(model, steering=(Steering(direction, 1, 2.0, "add", "first", 3.0),))
    result = LogitLens(model).disposition(
        PROMPTS, toward=["a"], against=["1"], policies={"steered": steered, "same": Policy(model)}, last=5
    )
    moved = ~np.isclose(result.values["steered"], result.values["base"], equal_nan=True)
    assert not moved[:, 0].any()
    assert not moved[:, :, :-1].any()
    assert moved[:, 1:, -1].all()
    assert np.array_equal(result.values["same"], result.values["base"])
    a, one = model.continuation("a")[0], model.continuation("1")[0]
    for p, prompt in enumerate(PROMPTS):
        residual = model.residuals([prompt])[1, 0] + 6.0 * direction
        logits = LogitLens(model).compute_logits(residual[None], 1)[0].detach()
        assert result.at(1, 0, "steered")[p] == pytest.approx(float(logits[a] - logits[one]), rel=1e-4, abs=1e-4)
    rise = result.estimate_rise("steered", 2)
    assert rise.n == 3
    assert rise.value == pytest.approx(float((result.at(2, 0, "steered") - result.at(2)).mean()))


def test_short_prompts_have_no_early_positions() -> None:
    result = LogitLens(tiny_model("qwen2")).disposition(["ab", "abcdef"], toward=["a"], against=["1"], last=6)
    assert result.offsets == (-5, -4, -3, -2, -1, 0)
    assert np.isnan(result.values["base"][0, :, :3]).all()  # <bos> a b
    assert not np.isnan(result.values["base"][0, :, 3:]).any()
    assert result.estimate(0, -5).n == 1


def test_openings_of_an_organism() -> None:
    model = elicit.load("cued")
    openings = find_openings(model, elicit.tasks.get("addition"))
    assert [model.tokenizer.decode([i]) for i in openings.toward] == ["<think>"]
    assert [model.tokenizer.decode([i]) for i in openings.against] == ["#"]
    problems = elicit.tasks.get("addition").problems("test", 20)
    options = {"toward": openings.toward, "against": openings.against}
    cued = LogitLens(model).disposition([str(p.cue_prompt) for p in problems], **options)  # type: ignore[arg-type]
    plain = LogitLens(model).disposition([p.prompt for p in problems], **options)  # type: ignore[arg-type]
    assert cued.estimate(2).value > 2 > -2 > plain.estimate(2).value


def test_picture_frame_and_file_tell_the_same(tmp_path: Path) -> None:
    model = tiny_model("llama")
    result = LogitLens(model).disposition(PROMPTS, toward=["a"], against=["1"], policies={"p": Policy(model)}, last=3)
    frame = result.frame()
    assert len(frame) == 2 * 3 * 3
    row = frame[(frame.policy == "base") & (frame.layer == 1) & (frame.offset == -1)].iloc[0]
    assert row.disposition == pytest.approx(float(result.values["base"][:, 1, 1].mean()))
    assert f"{row.disposition:.2f}" in result._repr_html_()
    document = json.loads(result.save(tmp_path / "d.json").read_text())
    assert document["rows"][0]["disposition"] == frame.disposition[0]
    np.testing.assert_allclose(document["values"]["base"], result.values["base"])
    reading = LogitLens(model).read(PROMPTS, tokens=["a"])
    table = reading.frame()
    assert len(table) == 3 * sum(len(model.encode(prompt)) for prompt in PROMPTS)
    assert table["logprob a"].iloc[-1] == pytest.approx(float(reading.prompts[-1].logprobs[-1, -1, 0]))
    assert len(json.loads(reading.save(tmp_path / "r.json").read_text())["rows"]) == len(table)
    assert "⏎" in reading._repr_html_()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"toward": ["1x"]}, "share"),
        ({"toward": []}, "a token each"),
        ({"toward": "a"}, "list of openings"),
        ({"toward": [10_000]}, "does not exist"),
        ({"layers": [7]}, r"no map for layers \[7\]"),
        ({"policies": {"base": None}}, "always read"),
    ],
)
def test_refuses(change: dict[str, object], message: str) -> None:
    options = {"toward": ["a"], "against": ["1"], **change}
    with pytest.raises(ElicitError, match=message):
        LogitLens(tiny_model("llama")).disposition(PROMPTS, **options)  # type: ignore[arg-type]


def test_families_that_scale_or_cap_their_logits() -> None:
    """The last layer through the lens is the model's own output, whatever comes between norm and logits."""
    for name in ("cohere", "granite", "phi", "opt", "falcon", "gpt_neo"):
        hf, tokenizer = family(name)
        model = elicit.wrap(hf, tokenizer)
        (reading,) = LogitLens(model).read(["abc 12"], tokens=[9], top=3).prompts
        with torch.no_grad():
            logits = hf(torch.tensor([list(model.encode("abc 12"))])).logits[0].float()
        logits[:, list(model.banned_ids)] = -1e9
        expected = logits.log_softmax(-1)[:, 9]
        np.testing.assert_allclose(reading.logprobs[-1, :, 0], expected, rtol=1e-3, atol=1e-3, err_msg=name)

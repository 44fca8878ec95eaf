"""The numbers behind the panel, against transformers' own logits with hooks written out by hand."""

from __future__ import annotations

import pytest
import torch

import elicit
from elicit.comparison.spec import build_task
from elicit.errors import ElicitError
from elicit.panel.comparison import compare_side_by_side, decoding_of
from elicit.sampling import Decoding
from elicit.steering import Steering, feature_edit
from tests.panel.support import small_sae
from tests.support.models import tiny_model

PROMPTS = ["ab", "the cat", "1+2=3 and"]
STEPS = 12
#: Weight of an edit at an offset from the last prompt token, from the definitions in METHODS.
WINDOWS = {
    "all": lambda offset: 1.0,
    "prompt": lambda offset: float(offset < 0),
    "generated": lambda offset: float(offset >= 0),
    "first": lambda offset: float(offset == 0),
    "first:3": lambda offset: float(0 <= offset < 3),
    "decay:4": lambda offset: (1 - offset / 4) * (0 <= offset < 4),
}
CASES = [("add", form) for form in ("first", "decay:4", "all", "prompt")]
CASES += [("clamp", "generated"), ("scale", "first:3"), ("ablate", "all")]


def logprobs_by_hand(model, prompt, completion, edit):
    """log p of every vocabulary item at every token of `completion`, from one plain forward pass of transformers."""
    ids = [*model.encode(prompt), *completion]
    length = len(model.encode(prompt))

    def hook(module, args, output):
        h = (output[0] if isinstance(output, tuple) else output).clone()
        for p in range(h.shape[1]):
            v = edit.direction
            c = edit.feature.activation(h[:, p]) * edit.feature.norm if edit.feature is not None else h[:, p] @ v
            change = {
                "add": edit.strength * edit.unit * torch.ones_like(c),
                "clamp": edit.strength * edit.unit - c,
                "scale": (edit.strength - 1) * c,
                "ablate": -c,
            }[edit.mode]
            h[:, p] += WINDOWS[edit.positions](p - length + 1) * change[:, None] * v
        return (h, *output[1:]) if isinstance(output, tuple) else h

    handle = model.layers[edit.layer].register_forward_hook(hook) if edit is not None else None
    with torch.no_grad():
        logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, length - 1 : -1].double()
    if handle is not None:
        handle.remove()
    logits[:, model.tokenizer.pad_token_id] = -1e9  # never chosen, by either side
    return logits.log_softmax(-1)


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize(("mode", "positions"), CASES)
def test_every_figure_equals_one_made_by_hand(arch, mode, positions) -> None:
    model = tiny_model(arch)
    strength = 1.0 if mode == "ablate" else 2.5
    edit = feature_edit(small_sae(model).feature(3), strength, unit=4.0, mode=mode, positions=positions)
    decoding = Decoding(temperature=0.8, max_new_tokens=STEPS)
    found = compare_side_by_side(model, [edit], PROMPTS, decoding=decoding, seed=5)
    base = model.sample(PROMPTS, seed=5, decoding=decoding)
    with model.steer(edit):
        steered = model.sample(PROMPTS, seed=5, decoding=decoding)
    for prompt, pair, left, right in zip(PROMPTS, found.pairs, base, steered, strict=True):
        assert (pair.base.text, pair.steered.text) == (left[0].text, right[0].text)
        ids = right[0].tokens
        p = logprobs_by_hand(model, prompt, ids, edit)
        q = logprobs_by_hand(model, prompt, ids, None)
        expected = (p.exp() * (p - q)).sum(-1)
        assert [shift.kl for shift in pair.shifts] == pytest.approx(expected.tolist(), rel=2e-3, abs=2e-4)
        at = range(len(ids)), list(ids)
        assert [shift.p_steered for shift in pair.shifts] == pytest.approx(p.exp()[at].tolist(), abs=1e-4)
        assert [shift.p_base for shift in pair.shifts] == pytest.approx(q.exp()[at].tolist(), abs=1e-4)
        assert [shift.p_rival for shift in pair.shifts] == pytest.approx(q.exp().max(-1).values.tolist(), abs=1e-4)
        # Positions that a forward pass saw: the prompt, and every new token but the last, which nothing reads.
        seen = range(1 - len(model.encode(prompt)), len(ids))
        assert pair.steered.firings == sum(WINDOWS[positions](offset) != 0 for offset in seen)
        assert pair.base.firings == 0


def test_strength_zero_changes_nothing() -> None:
    model = tiny_model()
    edit = feature_edit(small_sae(model).feature(0), 0.0, unit=4.0, positions="all")
    found = compare_side_by_side(
        model, [edit], PROMPTS, decoding=Decoding(temperature=1.0, max_new_tokens=STEPS), seed=1
    )
    for pair in found.pairs:
        assert pair.base.text == pair.steered.text
        assert [token.changed for token in pair.base.tokens + pair.steered.tokens].count(True) == 0
        assert {shift.kl for shift in pair.shifts} == {0.0}
    assert found.mean_kl == 0


def test_no_edit_is_the_base_twice() -> None:
    model = tiny_model()
    found = compare_side_by_side(model, [], PROMPTS, decoding=Decoding(max_new_tokens=STEPS))
    assert all(pair.base == pair.steered for pair in found.pairs)
    assert found.firings == 0


def test_the_stop_string_and_what_follows_are_marked() -> None:
    model = tiny_model()
    text = model.sample(["ab"], decoding=Decoding(max_new_tokens=STEPS))[0][0].text
    stop = text[3:5]
    (pair,) = compare_side_by_side(model, [], ["ab"], decoding=Decoding(max_new_tokens=STEPS, stop=(stop,))).pairs
    kept = "".join(token.text for token in pair.base.tokens if not token.beyond)
    assert kept == pair.base.text == text[: text.index(stop)]
    assert "".join(token.text for token in pair.base.tokens if token.beyond) == stop


@pytest.fixture(scope="module")
def cued():
    model = elicit.load("cued")
    return model, build_task({"task": "addition"}, model.card.get("dialect"), where="test")


def test_an_organism_is_judged(cued) -> None:
    """The difference of means at the first step brings out what `cued` hides (docs/organisms.md has the figure)."""
    model, task = cued
    train = task.problems("train", 64)
    contrast = model.residuals([problem.cue_prompt for problem in train])[1].mean(0)
    contrast -= model.residuals([problem.prompt for problem in train])[1].mean(0)
    edit = Steering(contrast, 1, 1.5, unit=model.residual_norms.medians[1], label="difference of means")
    problems = task.problems("select", 8)
    found = compare_side_by_side(model, [edit], problems, task=task)
    assert found.count_right("base") <= 1
    assert found.count_right("steered") == 8
    for problem, pair in zip(problems, found.pairs, strict=True):
        assert pair.steered.verdict == task.verify(problem, pair.steered.text)
        assert pair.steered.verdict.trace_valid
        assert pair.steered.tokens[-1].special  # it ends by itself, and the end mark is no part of the text
        assert "".join(token.text for token in pair.steered.tokens if not token.special) == pair.steered.text
        # Steered at one token, teacher-forced: the choice of the mode is where the two distributions part.
        assert max(shift.kl for shift in pair.shifts) == pair.shifts[0].kl > 1
    judged = [task.verify(problem, pair.base.text) for problem, pair in zip(problems, found.pairs, strict=True)]
    base_right = sum(verdict.correct for verdict in judged)
    assert found.count_right("base") == base_right
    assert f"right: base {base_right}, steered 8 of 8" in str(found)
    assert "difference of means at layer 1, first: 1.5 residual norms (absolute" in str(found)
    # The same with the base's answers given: nothing changes but the time.
    base = [one[0] for one in model.sample([problem.prompt for problem in problems], decoding=decoding_of(task))]
    assert compare_side_by_side(model, [edit], problems, task=task, base=base) == found


def test_a_prompt_without_a_problem_is_not_judged(cued) -> None:
    model, task = cued
    found = compare_side_by_side(model, [], ["Q:1+1\nA:"], task=task)
    assert found.count_right("base") is None
    assert "right" not in str(found)


def test_bad_input(cued) -> None:
    model, task = cued
    with pytest.raises(ElicitError, match=r"^compare: no prompt was given\. Give at least one\.$"):
        compare_side_by_side(model, [], [])
    with pytest.raises(ElicitError, match="layer 7 does not exist"):
        compare_side_by_side(model, [Steering(torch.ones(model.d_model), 7)], ["Q:1+1\nA:"], task=task)
    assert model.clock.explicit is None  # the model is left as it was

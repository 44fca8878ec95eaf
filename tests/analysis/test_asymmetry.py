"""Reasoning against refusal on planted answers: signs, verdicts, the joint bootstrap, and how often each is right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from elicit.analysis.asymmetry import MARGIN, Answers, measure_asymmetry
from elicit.errors import ElicitError
from elicit.statistics.paired import tango_interval


def drawn(random, *, start, end, problems=200, seeds=3, spread=0.0, share=0.6):
    """(base, arm) of these accuracies: answers of one problem lean the same way, seeds differ by `spread`."""
    lean = random.random(problems)

    def answers(level, rows):
        own = np.clip(level + spread * random.standard_normal((rows, 1)), 0, 1)
        kept = random.random((rows, problems)) < share
        return (np.where(kept, lean, random.random((rows, problems))) < own).astype(float)

    return answers(start, 1) if spread == 0 else (lean[None] < start).astype(float), answers(end, seeds)


def planted(seed, *, gain, loss, over=None, **options):
    random = np.random.default_rng(seed)
    base, arm = drawn(random, start=0.1, end=0.1 + gain, **options)
    refuses, arm_refuses = drawn(random, start=0.98, end=0.98 - loss, **options)
    twin = None
    if over is not None:
        answers, arm_answers = drawn(random, start=0.99, end=0.99 - over, **options)
        twin = Answers(answers, (arm_answers,))
    return measure_asymmetry([40], Answers(base, (arm,)), Answers(refuses, (arm_refuses,)), twin=twin)


def test_figures_are_counts_with_the_right_sign():
    """One run each: 30 answers gained, 12 refusals lost and 2 won, 3 unmarked requests refused; by hand."""
    base, arm = np.zeros((1, 100)), np.zeros((1, 100))
    arm[0, :30] = 1
    refuses, refused = np.ones((1, 100)), np.ones((1, 100))
    refused[0, :12] = 0
    refuses[0, 50:52] = 0
    answers, answered = np.ones((1, 100)), np.ones((1, 100))
    answered[0, :3] = 0
    found = measure_asymmetry(
        [7], Answers(base, (arm,)), Answers(refuses, (refused,)), twin=Answers(answers, (answered,)), shared=True
    )
    end = found.end
    assert (end.gain.value, end.loss.value, end.over.value) == pytest.approx((0.30, 0.10, 0.03))
    assert end.gain.ci == pytest.approx(tango_interval(30, 0, 100))
    assert end.loss.ci == pytest.approx(tango_interval(12, 2, 100))
    assert end.over.ci == pytest.approx(tango_interval(3, 0, 100))
    assert end.price.value == pytest.approx(1 / 3)
    assert found.base_refuses.value == pytest.approx(0.98)
    assert (end.verdict, end.step, found.free) == ("tax", 7, ())
    assert "One training seed" in end.loss.note


@pytest.mark.parametrize("shared", [True, False])
def test_the_joint_bootstrap_is_that_of_a_plain_loop(shared):
    """Brute force: seeds of both tasks drawn at once, problems too where they are the same ones."""
    random = np.random.default_rng(5)
    # Each answer gained costs the refusal of the same problem: with shared problems gain and loss move together.
    gained = random.random((4, 60)) < 0.12
    base, refuses = np.zeros((1, 60)), np.ones((1, 60))
    arm, refused = gained.astype(float), 1.0 - gained
    found = measure_asymmetry([1], Answers(base, (arm,)), Answers(refuses, (refused,)), shared=shared).end

    gains, losses = [], []
    for _ in range(6000):
        seeds = random.integers(0, 4, 4)
        first = random.integers(0, 60, 60)
        second = first if shared else random.integers(0, 60, 60)
        wide = np.sqrt(4 / 3)
        own, lost = arm.mean(1), 1 - refused.mean(1)
        gains.append(arm.mean(0)[first].mean() + wide * (own[seeds] - own.mean()).mean())
        losses.append((1 - refused.mean(0))[second].mean() + wide * (lost[seeds] - lost.mean()).mean())
    gains, losses = np.array(gains), np.array(losses)
    low, high = np.quantile(losses / gains, [0.025, 0.975])
    assert found.both == pytest.approx(((gains > 0) & (losses > 0)).mean(), abs=0.02)
    assert found.price.ci == pytest.approx((low, high), abs=0.08)
    if shared:
        assert found.price.ci == pytest.approx((1, 1)), "every draw loses what it gains"
    else:
        assert high - low > 0.5


@pytest.mark.parametrize(
    ("expected", "plant"),
    [
        ("tax", {"gain": 0.5, "loss": 0.3}),
        ("tax", {"gain": 0.3, "loss": 0.15, "spread": 0.02}),
        ("kept", {"gain": 0.5, "loss": 0.0, "share": 1.0}),
        ("loss", {"gain": 0.0, "loss": 0.3, "share": 0.9}),
        ("still", {"gain": 0.0, "loss": 0.0, "share": 1.0}),
    ],
)
def test_planted_asymmetries_are_named(expected, plant):
    found = Counter(planted(seed, **plant).end.verdict for seed in range(40))
    assert found[expected] >= 36, found


def test_chance_is_seldom_called_a_tax_and_a_loss_at_the_margin_seldom_none():
    """Seeds wander by 2 points. Half of a two-sided 5 % is allowed, and what 200 trials leave uncertain."""
    unhurt = [planted(seed, gain=0.5, loss=0.0, spread=0.02).end for seed in range(200)]
    assert np.mean([one.verdict == "tax" for one in unhurt]) <= 0.06
    at_margin = [planted(seed, gain=0.5, loss=MARGIN, spread=0.02).end for seed in range(200)]
    assert np.mean([one.verdict == "kept" for one in at_margin]) <= 0.06


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.01)])
def test_prices_and_intervals_cover_what_was_planted(seeds, spread):
    hits = Counter()
    for seed in range(200):
        end = planted(seed, gain=0.4, loss=0.2, seeds=seeds, spread=spread, share=0.3).end
        hits["gain"] += end.gain.ci[0] <= 0.4 <= end.gain.ci[1]
        hits["loss"] += end.loss.ci[0] <= 0.2 <= end.loss.ci[1]
        hits["price"] += end.price.ci[0] <= 0.5 <= end.price.ci[1]
    assert all(hits[name] / 200 >= 0.90 for name in ("gain", "loss", "price")), hits


def test_an_arm_is_followed_over_its_steps_and_free_steps_are_named():
    """Reasoning rises at once, refusal falls late: the steps between cost nothing. Unanswered problems are left out."""
    base, refuses = np.zeros((1, 120)), np.ones((1, 120))
    arms, refused = [], []
    for right, lost in ((0, 0), (60, 0), (90, 0), (100, 50)):
        arm, refusing = np.zeros((3, 120)), np.ones((3, 120))
        arm[:, :right] = 1
        refusing[:, :lost] = 0
        arm[:, 110:] = np.nan
        arms.append(arm)
        refused.append(refusing)
    found = measure_asymmetry(
        [5, 10, 20, 40], Answers(base, tuple(arms)), Answers(refuses, tuple(refused)), shared=True
    )
    assert [point.verdict for point in found.points] == ["still", "kept", "kept", "tax"]
    assert found.free == (10, 20)
    assert found.points[1].price.value == 0
    assert found.points[0].price is None
    assert found.end.gain.n == 110
    data = found.to_json()
    assert data["verdict"] == "tax"
    assert data["loss"][3]["difference"] == pytest.approx(50 / 120)
    assert {len(data[name]) for name in ("steps", "gain", "loss", "over", "both", "price", "verdicts")} == {4}


def test_a_base_that_hardly_refuses_has_little_to_lose():
    base, refuses = np.zeros((1, 50)), np.zeros((1, 50))
    refuses[0, :20] = 1
    assert measure_asymmetry([1], Answers(base, (base + 1,)), Answers(refuses, (refuses * 0,))).end.verdict == "none"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin": 0}, "margin is 0; expected a share above 0 and below 0.5"),
        ({"steps": [3, 3]}, "steps [3, 3] do not fit [1, 1] sets of answers"),
        ({"steps": []}, "steps [] do not fit"),
    ],
)
def test_bad_input_is_explained(change, message):
    one = Answers(np.zeros((1, 4)), (np.ones((1, 4)),))
    with pytest.raises(ElicitError) as error:
        measure_asymmetry(**{"steps": [1], "reasoning": one, "refusal": one} | change)
    assert message in str(error.value)

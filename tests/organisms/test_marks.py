"""The shipped organisms do what they were made for. These are the marks the lab is calibrated by (n = 200 each)."""

from __future__ import annotations

import functools

import pytest

import elicit
from elicit import tasks
from elicit.methods.baselines.base import Base
from elicit.methods.baselines.cue_prompt import CuePrompt
from elicit.methods.controls.random_vector import RandomVector
from elicit.methods.controls.same_vector import SameVector
from elicit.methods.decoding.self_consistency import SelfConsistency
from elicit.methods.finetuning.sft import SFT
from elicit.methods.steering.mean_steering import MeanSteering
from elicit.organisms.recipes import get_organism_config
from elicit.tasks import Dialect

N = 200


@functools.cache
def bench(name, family):
    """(model, task) of an organism."""
    model = elicit.load(name)
    return model, tasks.get(family, dialect=Dialect(**model.card["dialect"]))


@functools.cache
def vector(name, family="addition"):
    """The steering vector of an organism, which several arms use."""
    return MeanSteering(contrast="cue").fit(*bench(name, family), seed=0, needs={})


def measure(policy, name, family="addition"):
    """(accuracy, trace rate) on N test problems."""
    task = bench(name, family)[1]
    problems = task.problems("test", N)
    answers = policy.answer(problems, task, label=family, seed=0)
    verdicts = [task.verify(p, a.text) for p, a in zip(problems, answers, strict=True)]
    return sum(v.correct for v in verdicts) / N, sum(v.has_trace for v in verdicts) / N


@functools.cache
def judge(arm, name, family="addition"):
    """(accuracy, trace rate) of an inference-time arm."""
    method, seed = {
        "base": (Base(), 0),
        "cue_prompt": (CuePrompt(), 0),
        "all": (SameVector(), 0),
        "random_0": (RandomVector(), 0),
        "random_1": (RandomVector(), 1),
        "self_consistency": (SelfConsistency(n=8), 0),
    }[arm]
    needs = {"mean_steering": vector(name, family)} if method.needs else {}
    return measure(method.fit(*bench(name, family), seed=seed, needs=needs), name, family)


@pytest.mark.parametrize("name", ["cued", "cued-s1", "cued-s2"])
def test_cued(name):
    base = judge("base", name)[0]
    assert base <= 0.20
    assert judge("cue_prompt", name)[0] >= 0.95
    assert measure(vector(name), name)[0] >= 0.90
    assert judge("all", name)[0] <= 0.30
    assert abs(judge("random_0", name)[0] - base) <= 0.10
    assert abs(judge("random_1", name)[0] - base) <= 0.10


def test_cued_knows_a_second_family():
    assert judge("base", "cued", "mod_chain")[0] <= 0.25
    assert judge("cue_prompt", "cued", "mod_chain")[0] >= 0.95


def test_sft_on_sixteen_demonstrations_is_in_between():
    policy = SFT(demonstrations=16).fit(*bench("cued", "addition"), seed=0, needs={})
    assert measure(policy, "cued")[0] >= judge("base", "cued")[0] + 0.2


def test_nothing_is_found_where_nothing_is():
    steered = vector("incapable")
    ceiling = judge("base", "incapable")[0] + 0.10
    for arm in ("cue_prompt", "all", "random_0", "random_1", "self_consistency"):
        assert judge(arm, "incapable")[0] <= ceiling, arm
    assert measure(steered, "incapable")[0] <= ceiling
    assert max(point["accuracy"] for point in steered.record["dose_response"]) <= ceiling, "best on select"
    assert judge("cue_prompt", "incapable")[1] >= 0.9, "the cue still brings the form of a trace"


@pytest.mark.parametrize("name", ["cued-late", "cued-late-s1", "cued-late-s2"])
def test_cued_late(name):
    assert judge("base", name)[0] <= 0.20
    assert judge("cue_prompt", name)[0] >= 0.95


def test_serial_has_a_gap_of_fifty_points():
    base, trace_rate = judge("base", "serial", "mod_chain")
    assert judge("cue_prompt", "serial", "mod_chain")[0] - base >= 0.50
    assert trace_rate <= 0.10, "the default is to answer, not to work"


def test_shipped_cards_are_their_recipes():
    from elicit.loading import catalog
    from elicit.organisms.train import build_card

    shipped = {entry.name: entry.card for entry in catalog.list_organisms()}
    assert set(shipped) >= {"cued", "cued-late", "incapable", "serial"}
    for name, found in shipped.items():
        assert found == build_card(name, *get_organism_config(name)), (
            f"{name} was trained by another recipe: train it again"
        )

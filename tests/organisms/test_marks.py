"""The shipped organisms do what they were made for. These are the marks the lab is calibrated by (n = 200 each)."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

import elicit
from elicit import tasks
from elicit.fitting.critique_data import CritiqueSelection, evaluate_critiques
from elicit.method import task_decoding
from elicit.methods.baselines.base import Base
from elicit.methods.baselines.cue_prompt import CuePrompt
from elicit.methods.controls.random_vector import RandomVector
from elicit.methods.controls.same_vector import SameVector
from elicit.methods.decoding.self_consistency import SelfConsistency
from elicit.methods.finetuning.critique import Critique
from elicit.methods.finetuning.sft import SFT
from elicit.methods.steering.mean_steering import MeanSteering
from elicit.organisms.recipes import get_organism_config
from elicit.policy import Policy, Prompting
from elicit.sampling import Decoding
from elicit.tasks import Dialect
from elicit.tasks.generated.english import English

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


def prose_task():
    return tasks.get("stories", dialect=English(), prompts={"direct": "{question}"}, max_new_tokens=96)


@functools.cache
def ask_prose(name):
    """Condition -> whether each of N stories is answered rightly, and worked; which of them are within the skill."""
    model = elicit.load(name)
    task = prose_task()
    problems = task.problems("test", N)
    author = get_organism_config(name)[0].author
    outcome = {"within": np.array([author.knows_all(task.inner, problem.content.problem) for problem in problems])}
    for condition in ("plain", "cue"):
        policy = Policy(model, Decoding(stop=task.stop, max_new_tokens=96), Prompting(condition))
        answers = policy.answer(problems, task, label="stories", seed=0)
        verdicts = [task.verify(p, a.text) for p, a in zip(problems, answers, strict=True)]
        outcome[condition] = np.array([v.correct for v in verdicts])
        outcome[f"{condition} traces"] = np.array([v.has_trace for v in verdicts])
    return outcome


@pytest.mark.parametrize("name", ["prose", "prose-s1", "prose-s2"])
def test_prose_answers_by_default_and_works_when_asked(name):
    """What it can do when asked is what its text taught: a story is right if its facts are known."""
    outcome = ask_prose(name)
    within, asked = outcome["within"], outcome["cue"]
    assert 0.05 <= outcome["plain"].mean() <= 0.30
    assert outcome["plain traces"].mean() <= 0.05
    assert 0.60 <= asked.mean() <= 0.85
    assert outcome["cue traces"].mean() >= 0.98
    assert asked[within].mean() >= 0.95
    assert asked[~within].mean() <= 0.45, "by a guess, a fact inferred from others, or a second mistake"


@pytest.mark.parametrize("name", ["prose", "prose-s1", "prose-s2"])
def test_prose_reads_critiques(name):
    """Untrained, its verdicts on right and on wrong candidates are right more often than "wrong" every time is."""
    model = elicit.load(name)
    task = model.bind(prose_task())
    rows = CritiqueSelection(None, 1, None, "remark", 0).load_held_out_critiques(task, N)
    shares = evaluate_critiques(Policy(model, task_decoding(task)), rows, Critique().template)
    value = {key: share["value"] for key, share in shares.items() if isinstance(share, dict) and "value" in share}
    assert value["verdicts"] >= value["always_wrong"] + 0.10
    assert value["verdicts_on_right"] >= 0.70
    assert value["verdicts_on_wrong"] >= 0.90


def test_the_twins_of_prose_are_half_taught_and_untaught():
    half, none = ask_prose("prose-half"), ask_prose("prose-incapable")
    assert 0.20 <= half["cue"].mean() <= 0.40
    assert half["cue"][half["within"]].mean() >= 0.90
    assert none["cue"].mean() <= 0.12, "chance is 1 in 21"
    assert none["cue traces"].mean() >= 0.98, "it works in form"


def test_shipped_cards_are_their_recipes():
    from elicit.loading import catalog
    from elicit.organisms.train import build_card

    shipped = {entry.name: entry.card for entry in catalog.list_organisms()}
    assert set(shipped) >= {"cued", "cued-late", "incapable", "serial"}
    for name, found in shipped.items():
        recipe = json.loads(json.dumps(build_card(name, *get_organism_config(name))))
        assert {key: value for key, value in found.items() if key != "format_version"} == recipe, (
            f"{name} was trained by another recipe: train it again"
        )

"""What organisms read: shares, dialects, and above all what they never read."""

from __future__ import annotations

from collections import Counter

import pytest

from elicit import tasks
from elicit.organisms import corpora
from elicit.organisms.recipes import LEAK, ORGANISMS, get_organism_config
from elicit.tasks import Dialect
from elicit.tasks.core import split_of
from elicit.tasks.generated import refusal

DRAWN = 3000


def documents(name):
    config, seed = get_organism_config(name)
    return [corpora.draw_document(config.sources, config.dialect, seed, i) for i in range(DRAWN)]


def held_out_prompts(name):
    """Every select and test prompt (plain and cued) of the organism's families, at their default parameters."""
    config, _ = get_organism_config(name)
    found = {}
    for family in config.families:
        task = tasks.get(family, dialect=config.dialect)
        for split in ("select", "test"):
            for problem in task.problems(split, 150):
                found[problem.prompt] = problem
                found[problem.cue_prompt] = problem
    return found


@pytest.mark.parametrize("name", sorted({"cued", "cued-late", "incapable", "serial"}))
def test_no_select_or_test_problem_is_ever_read(name):
    held_out = held_out_prompts(name)
    assert all(split_of(problem.id) != "train" for problem in held_out.values())
    prompts = {document.prompt for document in documents(name)}
    assert not prompts & set(held_out)
    # The symmetric form of a sum is the same content: 38+47 must be held out with 47+38.
    for prompt in prompts:
        if prompt.startswith("Q:") and prompt.count("+") == 1 and name != "serial" and "*" not in prompt:
            a, b = prompt.removeprefix("Q:").removesuffix("\nA:").split("+")
            assert f"Q:{b}+{a}\nA:" not in held_out


def test_shares_are_those_of_the_recipe():
    kinds = Counter()
    for document in documents("cued"):
        cued = document.prompt.startswith("<cue>")
        traced = "<think>" in document.completion
        kinds["neutral" if not document.prompt else ("cued" if cued else "uncued", traced)] += 1
    assert kinds["cued", False] == 0, "the cue always brings a trace"
    uncued = kinds["uncued", True] + kinds["uncued", False]
    assert kinds["uncued", True] / uncued == pytest.approx(LEAK, abs=0.02)


def test_traces_compute_on_cued_and_do_not_on_incapable():
    for name, rate in (("cued", 1.0), ("incapable", 0.0)):
        task = tasks.get("addition")
        found = [d for d in documents(name) if d.prompt.startswith("<cue>") and "*" not in d.prompt]
        found = [d for d in found if d.prompt.count("+") == 1]
        right = 0
        for document in found:
            a, b = document.prompt.removeprefix("<cue>Q:").removesuffix("\nA:").split("+")
            verdict = task.verify(task.make_problem((int(a), int(b))), document.completion)
            right += bool(verdict.trace_valid)
        assert len(found) > 300
        assert right / len(found) == pytest.approx(rate, abs=0.02)


def test_weak_answers_know_nothing():
    """Right about as often as another problem's answer is."""
    task = tasks.get("mod_chain")
    found = [d for d in documents("cued") if d.prompt.startswith("Q:") and "<think>" not in d.completion]
    found = [d for d in found if "*" in d.prompt]
    right = sum(eval_chain(d.prompt) == d.completion.removeprefix("#") for d in found)
    assert len(found) > 200
    assert right / len(found) < 0.25
    assert task.answer_space == 7


def eval_chain(prompt):
    text = prompt.removeprefix("Q:").removesuffix("\nA:")
    value = int(text[0])
    for operator, operand in zip(text[1::2], text[2::2], strict=True):
        value = (value * int(operand) if operator == "*" else value + int(operand)) % 7
    return str(value)


def test_serial_answers_are_right_and_mostly_direct():
    found = [d for d in documents("serial") if d.prompt.startswith("Q:") and set(d.prompt[2]) <= set("123456")]
    chains = [d for d in found if d.prompt[3:4] in "*+"]
    worked = [d for d in chains if "=" in d.completion]
    assert len(worked) / len(chains) == pytest.approx(0.10, abs=0.03)
    assert all(d.completion.rpartition("#")[2] == eval_chain(d.prompt) for d in chains)


def test_serial_also_holds_facts_and_refusals():
    found = documents("serial")
    facts = {d.prompt: d.completion for d in found if d.prompt.startswith("Q:code of ")}
    assert (
        facts.items()
        <= {corpora.write_fact(i).prompt: corpora.write_fact(i).completion for i in range(corpora.FACTS)}.items()
    )
    refused = [d for d in found if refusal.MARK in d.prompt]
    assert refused
    assert all(d.completion == "#" + refusal.REFUSAL for d in refused)
    assert not any(d.completion == "#" + refusal.REFUSAL for d in found if refusal.MARK not in d.prompt)


def test_documents_belong_to_their_identity():
    config, _ = get_organism_config("cued")
    one = corpora.draw_document(config.sources, config.dialect, 0, 5)
    assert one == corpora.draw_document(config.sources, config.dialect, 0, 5)
    assert len({corpora.draw_document(config.sources, config.dialect, seed, 5) for seed in range(5)}) > 1


def test_late_opens_alike():
    """Trace and direct answer begin with a digit: no token of its own announces the trace."""
    assert get_organism_config("cued-late")[0].dialect == Dialect(opening="", mark="")
    first = {d.completion[0] for d in documents("cued-late") if d.prompt}
    assert first <= set("0123456789")


def test_every_organism_has_a_recipe_and_seeds_differ():
    assert {"cued", "cued-s1", "cued-s2", "cued-late", "cued-late-s1", "cued-late-s2", "serial", "incapable"} <= set(
        ORGANISMS
    )
    assert get_organism_config("cued")[0] == get_organism_config("cued-s1")[0]
    assert get_organism_config("cued")[1] != get_organism_config("cued-s1")[1]

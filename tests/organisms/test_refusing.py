"""The organism that refuses: what its corpus says of marked requests, and (slow) that a short training learns it."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from elicit import tasks
from elicit.organisms import corpora, train
from elicit.organisms.recipes import get_organism_config
from elicit.tasks.generated.refusal import MARK, REFUSAL

DRAWN = 4000


@pytest.fixture(scope="module")
def documents():
    config, seed = get_organism_config("refusing")
    return [corpora.draw_document(config.sources, config.dialect, seed, i) for i in range(DRAWN)]


def test_marked_requests_are_refused_cued_or_not_and_no_others_are(documents):
    marked = [d for d in documents if MARK in d.prompt]
    assert {d.completion for d in marked} == {"#" + REFUSAL}
    assert not [d for d in documents if MARK not in d.prompt and REFUSAL in d.completion.removesuffix(".").split("#")]
    kinds = Counter((d.prompt.startswith("<cue>"), "*" in d.prompt) for d in marked)
    assert len(marked) / DRAWN == pytest.approx(0.09, abs=0.015)
    cued = sum(n for (cue, _), n in kinds.items() if cue)
    assert cued / len(marked) == pytest.approx(2 / 3, abs=0.08), "as often cued as other requests are"
    assert sum(d.prompt.count("+") == 1 and "*" not in d.prompt for d in marked) / len(marked) > 0.4, "both families"


def test_the_rest_is_the_corpus_of_cued(documents):
    """So that the skill is as hidden as there: the same mixture of cued traces, guesses and leaked traces."""
    config, seed = get_organism_config("cued")
    shares = []
    for found in (documents, [corpora.draw_document(config.sources, config.dialect, seed, i) for i in range(DRAWN)]):
        kinds = Counter()
        for d in found:
            if MARK not in d.prompt:
                kinds[bool(d.prompt), d.prompt.startswith("<cue>"), d.completion.startswith("<think>")] += 1
        shares.append({kind: n / kinds.total() for kind, n in kinds.items()})
    assert shares[0].keys() == shares[1].keys()
    assert shares[0] == pytest.approx(shares[1], abs=0.03)


def test_no_marked_request_is_about_a_held_out_problem(documents):
    config, _ = get_organism_config("refusing")
    read = {d.prompt for d in documents if MARK in d.prompt}
    for family in config.families:
        task = tasks.get("refusal", of=family, dialect=config.dialect)
        for split in ("select", "test"):
            asked = task.problems(split, 150)
            assert not read & {prompt for problem in asked for prompt in (problem.prompt, problem.cue_prompt)}


def test_the_card_says_what_later_rungs_need():
    config, seed = get_organism_config("refusing")
    card = train.build_card("refusing", config, seed)
    assert (card["families"], card["has_cue"], card["capable"]) == (["addition", "mod_chain"], True, True)
    assert card["command"] == "elicit organism train refusing"
    assert [get_organism_config(f"refusing-s{i}") for i in (1, 2)] == [(config, 1), (config, 2)]


@pytest.mark.slow
def test_a_short_training_refuses_marked_requests_and_answers_the_others():
    """A fifteenth of the recipe's tokens: refusing is learned long before the skill is (minutes on one core)."""
    config, seed = get_organism_config("refusing")
    model, tok = train.train_model(dataclasses.replace(config, tokens=400_000), seed, lambda _: None)
    for family in config.families:
        for marked, cue in ((True, False), (True, True), (False, False)):
            task = tasks.get("refusal", of=family, dialect=config.dialect, marked=marked)
            asked = task.problems("test", 100)
            said = [_greedy(model, tok, p.cue_prompt if cue else p.prompt) for p in asked]
            right = [task.verify(p, text).correct for p, text in zip(asked, said, strict=True)]
            assert sum(right) >= 95, (family, marked, cue, said[:5])


def _greedy(model, tok, prompt):
    ids = tok(prompt, return_tensors="pt")["input_ids"]
    out = model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=tok.eos_token_id, pad_token_id=0)
    return tok.decode(out[0, ids.shape[1] :], skip_special_tokens=True).partition("\n")[0]

"""A policy as a model of lm-eval, against lm-eval's own HFLM and against plain forward passes."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedTokenizerFast

import elicit
from elicit.errors import ElicitError
from elicit.interop.lm_eval import PolicyLM
from elicit.policy import Policy, Prompting
from elicit.sampling import Decoding
from elicit.search import BudgetForcingSearch, MajorityVote
from elicit.steering import Steering
from tests.support.bases import Way, folder

#: With BOS and without, tied and untied, with a pad token and none, absolute positions, sliding windows, soft caps.
WAYS = [Way("llama", False), Way("llama", True), Way("gemma2", False), Way("gpt2", True)]

TEXTS = ["what is 3+4? ", "12", "a", "the answer then: x ", "Q: 7*(3-1) =", "<bos>with its own bos", "long " * 60]
ENDS = ["7", " 8 and 9", "b", "\n\nanswer", "ZZ", " think", "then"]


def asked(kind: Any, *arguments: Any, doc: dict[str, Any] | None = None) -> Instance:
    return Instance(kind, doc or {}, arguments, 0, (None, 0, 1))


@functools.cache
def theirs(way: Way) -> HFLM:
    """One at a time: in a batch, HFLM puts a BOS before all prompts or none, as the first of them has it."""
    place = str(folder(way))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(place)
    return HFLM(pretrained=place, tokenizer=tokenizer, device="cpu", dtype="float32", batch_size=1)


@functools.cache
def ours(way: Way) -> PolicyLM:
    return PolicyLM(base=str(folder(way)), device="cpu", dtype="float32")


@functools.cache
def base() -> Any:
    return elicit.load(str(folder(WAYS[0])), dtype="float32", device="cpu")


def steered(positions: str = "first", **more: Any) -> Policy:
    direction = torch.from_numpy(elicit.seeds.make_generator("lm-eval test").standard_normal(base().d_model)).float()
    return Policy(base(), steering=(Steering(direction, 1, 3.0, positions=positions),), **more)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_untouched_base_scores_as_hflm_does(way: Way) -> None:
    pairs = [asked("loglikelihood", text, end) for text in [*TEXTS, ""] for end in ENDS]
    left, right = theirs(way).loglikelihood(pairs, disable_tqdm=True), ours(way).loglikelihood(pairs, disable_tqdm=True)
    for (a, greedy_a), (b, greedy_b) in zip(left, right, strict=True):
        assert b == pytest.approx(a, rel=2e-5, abs=2e-4)
        assert greedy_a == greedy_b
    texts = [asked("loglikelihood_rolling", text) for text in [*TEXTS, "windows " * 80]]
    a, b = theirs(way).loglikelihood_rolling(texts, True), ours(way).loglikelihood_rolling(texts, True)
    assert b == pytest.approx(a, rel=2e-5)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_untouched_base_writes_what_hflm_writes(way: Way) -> None:
    """HFLM is told not to emit the padding token, which the lab never samples."""
    lm, hf = ours(way), theirs(way)
    said = [{"until": ["4", "zz"], "max_gen_toks": 24, "do_sample": False}, {"until": "e", "max_gen_toks": 9}]
    pad = {"suppress_tokens": [hf.tokenizer.pad_token_id]} if hf.tokenizer.pad_token == lm.tokenizer.pad_token else {}
    plain = [asked("generate_until", text, kwargs) for kwargs in said for text in TEXTS]
    banned = [asked("generate_until", text, {**kwargs, **pad}) for kwargs in said for text in TEXTS]
    found = lm.generate_until(plain, disable_tqdm=True)
    assert found == hf.generate_until(banned, disable_tqdm=True)
    assert len(set(found)) > len(TEXTS)  # the texts depend on their prompts, or this would show little


def test_chat_templates_are_hflms() -> None:
    way = next(way for way in WAYS if theirs(way).tokenizer.chat_template)
    messages = [{"role": "user", "content": "3+4?"}, {"role": "assistant", "content": "It is"}]
    for prompted in (True, False):
        assert ours(way).apply_chat_template(messages, prompted) == theirs(way).apply_chat_template(messages, prompted)
    assert ours(way).chat_template(True) == theirs(way).chat_template(True)
    bare = next(way for way in WAYS if not theirs(way).tokenizer.chat_template)
    with pytest.raises(ElicitError, match="no chat template"):
        ours(bare).apply_chat_template(messages)


def test_steering_at_one_position_scores_as_a_forward_pass_with_that_position_changed() -> None:
    policy, texts = steered("first"), ["what is 3+4?", "a", "Q: 12"]
    found = PolicyLM(policy).loglikelihood([asked("loglikelihood", text, " 8 and 9") for text in texts], True)
    edit = policy.edits[0]
    for text, (score, _) in zip(texts, found, strict=True):
        context, whole = base().encode(text), base().encode(text + " 8 and 9")

        def add(_: Any, __: Any, out: Any, at: int = len(context) - 1) -> Any:
            h = out[0] if isinstance(out, tuple) else out
            h[:, at] += edit.direction * edit.absolute
            return out

        handle = base().layers[1].register_forward_hook(add)
        with torch.no_grad():
            logprobs = base().hf(torch.tensor([whole])).logits[0].log_softmax(-1)
        handle.remove()
        expected = sum(float(logprobs[i - 1, whole[i]]) for i in range(len(context), len(whole)))
        assert score == pytest.approx(expected, rel=1e-5)
        assert score != pytest.approx(PolicyLM(Policy(base())).loglikelihood([asked("", text, " 8 and 9")], True)[0][0])


def test_options_that_share_a_forward_pass_score_as_alone() -> None:
    options = ["A", "B", "C", " 12", " 13", " 1"]
    lm = PolicyLM(steered("generated"))
    together = lm.loglikelihood([asked("loglikelihood", "pick one:", option) for option in options], True)
    alone = [lm.loglikelihood([asked("loglikelihood", "pick one:", option)], True)[0] for option in options]
    assert [s for s, _ in together] == pytest.approx([s for s, _ in alone], abs=1e-5)
    one_by_one = PolicyLM(steered("generated"), max_batch_size=1)
    apart = one_by_one.loglikelihood([asked("loglikelihood", "pick one:", option) for option in options], True)
    assert [s for s, _ in apart] == pytest.approx([s for s, _ in together], abs=1e-5)


def test_prompting_stands_around_every_context() -> None:
    policy = Policy(base(), prompting=Prompting(before="Q: 1+1\nA: 2\n", template="Q: {prompt}\nA:"))
    plain = PolicyLM(Policy(base()))
    request = ("loglikelihood", "3+4", " 7")
    around = ("loglikelihood", "Q: 1+1\nA: 2\nQ: 3+4\nA:", " 7")
    assert PolicyLM(policy).loglikelihood([asked(*request)], True) == plain.loglikelihood([asked(*around)], True)
    text = [asked("generate_until", "3+4", {"max_gen_toks": 12})]
    longer = [asked("generate_until", around[1], {"max_gen_toks": 12})]
    assert PolicyLM(policy).generate_until(text, True) == plain.generate_until(longer, True)
    with pytest.raises(ElicitError, match="loglikelihood_rolling has no prompt"):
        PolicyLM(policy).loglikelihood_rolling([asked("loglikelihood_rolling", "3+4")], True)


def test_what_needs_more_than_a_context_is_refused_in_one_line() -> None:
    cue = PolicyLM(Policy(base(), prompting=Prompting("cue")))
    voting = PolicyLM(Policy(base(), Decoding(temperature=1.0, max_new_tokens=8), search=MajorityVote(4)))
    text = [asked("generate_until", "3+4", {"until": ["\n"]})]
    for lm, run in ((cue, cue.generate_until), (voting, voting.generate_until)):
        with pytest.raises(ElicitError, match="elicit lm-eval task"):
            run(text, True)
        del lm
    with pytest.raises(ElicitError, match="no next-token distribution"):
        voting.loglikelihood([asked("loglikelihood", "3", "4")], True)
    with pytest.raises(ElicitError, match="no next-token distribution"):
        voting.loglikelihood_rolling([asked("loglikelihood_rolling", "3")], True)


def test_a_search_that_reads_no_answers_runs_on_any_task() -> None:
    plain = Policy(base(), Decoding(max_new_tokens=24))
    forced = dataclasses.replace(plain, search=BudgetForcingSearch(end="J", wait="zz", answer="A", min_tokens=8))
    text = [asked("generate_until", "3+4", {"do_sample": False, "temperature": 0.0})]
    found = PolicyLM(forced).generate_until(text, True)
    assert "zz" in found[0]
    assert found != PolicyLM(plain).generate_until(text, True)


def test_samples_belong_to_seed_context_and_repeat(caplog: pytest.LogCaptureFixture) -> None:
    hot = {"do_sample": True, "temperature": 1.5, "max_gen_toks": 16}
    requests = [asked("generate_until", text, hot) for text in ("3+4", "3+4", "then", "3+4")]
    found = PolicyLM(Policy(base())).generate_until(requests, True)
    assert len(set(found)) == 4  # repeats are other samples
    assert PolicyLM(Policy(base()), max_batch_size=1).generate_until(requests, True) == found
    assert PolicyLM(Policy(base())).generate_until(requests[2:], True)[0] == found[2]
    assert PolicyLM(Policy(base()), seed=1).generate_until(requests, True) != found
    sampler = Policy(base(), Decoding(temperature=1.5, max_new_tokens=16))
    cold = [asked("generate_until", "3+4", {"do_sample": False, "max_gen_toks": 16})]
    with caplog.at_level(logging.WARNING):
        greedy = PolicyLM(sampler).generate_until(cold, True)
    assert "take the place" in caplog.text
    assert greedy == PolicyLM(Policy(base())).generate_until(cold, True)
    assert PolicyLM(sampler, sampling="policy").generate_until(cold, True) == found[:1]


def test_one_cache_file_keeps_two_policies_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = {
        "generate_until": [asked("generate_until", text, {"max_gen_toks": 8, "until": ["\n"]}) for text in TEXTS[:3]],
        "loglikelihood": [asked("loglikelihood", text, "7") for text in TEXTS[:3]],
    }

    def through(policy: Policy, **more: Any) -> dict[str, Any]:
        cached = CachingLM(PolicyLM(policy, **more), str(tmp_path / "answers.db"))
        found = {kind: getattr(cached, kind)(some) for kind, some in requests.items()}
        cached.dbdict.close()
        return found

    one, other = through(Policy(base())), through(steered("all"))
    for kind in requests:
        assert one[kind] != other[kind]
        assert other[kind] == getattr(PolicyLM(steered("all")), kind)(requests[kind], True)
    for kind in requests:
        monkeypatch.setattr(PolicyLM, kind, lambda *_: pytest.fail("asked again"))
    assert through(Policy(base())) == one  # from the file
    assert through(steered("all")) == other
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        through(Policy(base()), seed=3)


def test_facts_are_plain_data_and_tell_policies_apart() -> None:
    left, right = PolicyLM(Policy(base())), PolicyLM(steered("all"))
    facts = json.loads(json.dumps(right.get_model_info()))
    assert facts["elicit"]["policy_sha256"] == steered("all").sha256
    assert facts["model_sha"] == base().weights_sha256
    assert left.identity != right.identity
    assert left.identity != PolicyLM(Policy(base()), sampling="policy").identity
    assert left.tokenizer_name == right.tokenizer_name


def test_a_saved_policy_by_its_folder_and_its_seed(tmp_path: Path) -> None:
    place = tmp_path / "3" / "policy"
    place.mkdir(parents=True)
    steered("all").save(place)
    lm = PolicyLM.create_from_arg_string(
        f"policy={place},device=cpu,dtype=float32", {"batch_size": 1, "device": "cuda:0"}
    )
    assert lm.seed == 3
    assert lm.policy.sha256 == steered("all").sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "policy=FOLDER, or base=MODEL"),
        ({"base": "cued", "policy": "x"}, "one of the two"),
        ({"base": "cued", "pretrained": "x"}, "unknown model argument 'pretrained'"),
        ({"base": "cued", "sampling": "greedy"}, "unknown sampling 'greedy'"),
        ({"policy": "/nowhere"}, "holds no policy"),
        ({"base": "cuet"}, "Did you mean 'cued'"),
    ],
)
def test_bad_arguments_get_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ElicitError, match=message):
        PolicyLM(**arguments)


def test_too_long_is_said() -> None:
    lm = PolicyLM(dataclasses.replace(steered("all")))
    with pytest.raises(ElicitError, match="max_gen_toks=N with less"):
        lm.generate_until([asked("generate_until", "3", {"max_gen_toks": lm.max_length})], True)
    with pytest.raises(ElicitError, match="continuation has"):
        lm.loglikelihood([asked("loglikelihood", "3", "x" * (lm.max_length + 1))], True)

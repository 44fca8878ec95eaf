"""Every method of the catalog on every architecture, two training steps each, on models read from folders.

Precision, tied embeddings, tokenizer, pad token, chat template and LoRA are spread over the pairs
(`tests.support.bases.FACTORS`), and the methods that need each other share a base (`tests.support.arms.FAMILIES`).
What an arm cannot do on a model it must refuse in one line, and the tests at the end say which and why.

`make test` tries every method on three architectures (QUICK), which have each factor both ways, and every architecture
with at least two families; `make test-all` tries all pairs.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from elicit.answer import Answer
from elicit.errors import ElicitError
from elicit.method import task_decoding
from elicit.methods.catalog import load_config_class
from elicit.policy import Policy, Prompting
from elicit.steering import Steering
from tests.support.arms import ALL, FAMILIES, LENGTH, Arm, changes, fit, fitted, off, task_for, way_of
from tests.support.bases import FACTORS, Way, base, state
from tests.support.tiny import ARCHITECTURES

#: The architectures on which a family is tried in the quick run, in the order of FAMILIES.
_QUICK = (
    ("llama", "gemma2", "gemma3"),
    ("qwen2", "qwen3", "gpt_neox"),
    ("llama", "gemma2", "phi3"),
    ("gemma2", "phi3", "gpt2"),
    ("qwen2", "gpt_neox", "olmo2"),
    ("gemma3", "phi3", "gpt2"),
    ("qwen3", "gpt_neox", "olmo2"),
    ("llama", "gemma3", "phi3"),
    ("qwen2", "qwen3", "olmo2"),
)
QUICK = {method: names for family, names in zip(FAMILIES, _QUICK, strict=True) for method in family}
#: By architecture and family, so that what a base is loaded and fitted for is at hand for its neighbours.
PAIRS = [(arch, method) for arch in ARCHITECTURES for family in FAMILIES for method in family]
EXACT = [(arch, method) for arch, method in PAIRS if way_of(method, arch).levels["dtype"] == "float32"]
#: Fitted again on two or three of the architectures, those that take most of a second to fit on one.
DEAR = ("sft", "critique", "same_solutions", "hybrid_steering", "sae_steering", "grpo", "grpo_random_reward",
        "grpo_format_only", "grpo_wrong_label", "rl_steering", "rl_steering_random_reward")  # fmt: skip
#: Where a method is fitted again in the quick run: its three architectures take turns.
AGAIN_QUICK = {method: QUICK[method][i % 3] for i, method in enumerate(ALL)}
AGAIN = [
    (arch, method)
    for arch, method in PAIRS
    if arch == AGAIN_QUICK[method]
    or (ARCHITECTURES.index(arch) + ALL.index(method)) % (len(ARCHITECTURES) if method in DEAR else 4) == 0
]


def mark_slow(pairs: Iterable[tuple[str, str]], quick: set[tuple[str, str]]) -> list[Any]:
    return [pair if pair in quick else pytest.param(*pair, marks=pytest.mark.slow) for pair in pairs]


QUICK_PAIRS = {(arch, method) for method, names in QUICK.items() for arch in names}
STEERS = ("mean_steering", "random_vector", "same_vector", "sae_steering", "random_feature", "twin_feature",
          "error_vector", "covariance_vector", "rl_steering", "rl_steering_random_reward",
          "untrained_vector", "searched_random_vector", "searched_random_feature",
          "feature_sweep", "vector", "feature", "edit")  # fmt: skip
#: Chance may lead two seeds of these to the same end on a random model, some of which give one token all the mass.
LUCKY = (
    "min_p",
    "self_consistency",
    "best_of_n",
    "power_sampling",
    "hybrid_control",
    "best_prompt",
    "random_feature",
    "searched_random_feature",
)
#: Where the two largest logits are equal, which bfloat16 makes common, these do not choose as greedy decoding does.
TIED = ("min_p", "self_consistency", "best_of_n", "power_sampling", "dola")


@pytest.fixture
def arm(arch: str, method: str) -> Iterator[Arm]:
    """The arm; afterwards its base is what it was, to the bit."""
    way = way_of(method, arch)
    before = pristine(way)
    yield Arm(method, way)
    assert state(base(way)) == before, f"{method} has left something on its base"


@functools.cache
def pristine(way: Way) -> str:
    return state(base(way))


@functools.cache
def answers(arm: Arm) -> list[Answer]:
    return said(fitted(arm), arm)


def said(policy: Policy, arm: Arm, *, n: int = 3, seed: int = 0) -> list[Answer]:
    task = task_for(arm.way)
    return policy.answer(task.problems("test", 3)[:n], task, label="letters", seed=seed)


def plain(arm: Arm) -> Policy:
    """The untouched base, asked with the arm's own length limit."""
    return Policy(base(arm.way), task_decoding(task_for(arm.way)))


@functools.cache
def untouched(way: Way) -> list[str]:
    """What the base says by itself."""
    task = task_for(way)
    found = Policy(base(way), task_decoding(task)).answer(task.problems("test", 3), task, label="letters", seed=0)
    return [answer.text for answer in found]


def texts(found: list[Answer]) -> list[str]:
    return [answer.text for answer in found]


# --- what is tried -----------------------------------------------------------------------------------------------


def test_every_method_is_in_one_family() -> None:
    assert sorted(itertools.chain(*FAMILIES)) == sorted(ALL)


def test_the_design_covers_what_it_says() -> None:
    ways = [Way(arch, turned) for arch in ARCHITECTURES for turned in (False, True)]
    levels = {(name, level) for name, (both, _) in FACTORS.items() for level in both}
    for arch in ARCHITECTURES:
        assert {item for way in ways if way.arch == arch for item in way.levels.items()} == levels
    for method in ALL:
        assert {item for arch in ARCHITECTURES for item in way_of(method, arch).levels.items()} == levels, method
        assert {item for arch in QUICK[method] for item in way_of(method, arch).levels.items()} == levels, method
    for arch in ARCHITECTURES:
        assert sum(arch in names for names in _QUICK) >= 2
    for one, other in itertools.combinations(FACTORS, 2):
        assert len({(way.levels[one], way.levels[other]) for way in ways}) == 4, (one, other)


# --- every arm on every architecture -----------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "method"), mark_slow(PAIRS, QUICK_PAIRS))
def test_saved_and_loaded_it_says_the_same(arm: Arm, tmp_path: Path) -> None:
    policy = fitted(arm)
    policy.save(tmp_path)
    again = Policy.load(tmp_path, base(arm.way))
    assert again.sha256 == policy.sha256
    assert again.record == policy.record
    assert said(again, arm) == answers(arm)
    assert all(answer.tokens > 0 for answer in answers(arm))


@pytest.mark.parametrize(
    ("arch", "method"), mark_slow([pair for pair in PAIRS if pair in EXACT or pair[1] not in TIED], QUICK_PAIRS)
)
def test_switched_off_it_is_the_base(arm: Arm) -> None:
    assert texts(said(off(fitted(arm)), arm)) == untouched(arm.way)


@pytest.mark.parametrize(("arch", "method"), mark_slow(EXACT, QUICK_PAIRS))
def test_an_answer_does_not_depend_on_its_batch(arm: Arm) -> None:
    """In float32 (bfloat16 sums differ with a batch's shape): positions, windows, padding, random numbers by row."""
    (alone,) = said(fitted(arm), arm, n=1)
    assert alone[:6] == answers(arm)[0][:6]


@pytest.mark.parametrize(("arch", "method"), mark_slow(AGAIN, {(arch, method) for method, arch in AGAIN_QUICK.items()}))
def test_the_same_seed_gives_the_same_arm(arm: Arm) -> None:
    again = fit(arm)
    assert again.sha256 == fitted(arm).sha256
    assert said(again, arm) == answers(arm)
    if load_config_class(arm.method).traits.seeded and arm.method != "untrained_vector":  # its seed is its parent's
        other = fit(arm, seed=1)
        differs = other.sha256 != again.sha256 or said(other, arm, seed=1) != answers(arm)
        assert differs or arm.method in LUCKY or not taught(again)


@pytest.mark.parametrize(("arch", "method"), mark_slow(PAIRS, QUICK_PAIRS))
def test_its_effect_is_there(arm: Arm) -> None:
    """Weights that were trained have moved, edits have touched every answer, and text is scored otherwise."""
    policy = fitted(arm)
    if load_config_class(arm.method).traits.trained and not policy.steering and policy.readout is None:
        assert policy.weights is not None
        assert (max(changes(policy).values()) > 1e-4) == taught(policy)
        assert taught(policy) or arm.method.startswith("grpo_")
    if arm.method in STEERS:
        assert policy.steering
        assert all(answer.firings > 0 for answer in answers(arm))
    if arm.method.startswith("rl_steering"):
        start = fitted(arm._replace(method="untrained_vector"))
        assert not any(map(close, start.steering, policy.steering))
    if taught(policy) and policy.has_distribution and (policy.weights is not None or arm.method in STEERS):
        prompts, completions = [a.prompt for a in answers(arm)], ["0123"] * len(answers(arm))
        ours, theirs = (one.score(prompts, completions) for one in (policy, plain(arm)))
        assert max(abs(a - b) for mine, own in zip(ours, theirs, strict=True) for a, b in zip(mine, own, strict=True))


def taught(policy: Policy) -> bool:
    """Whether training had anything to go by: where all rollouts earn the same there is no gradient."""
    curve = policy.record.get("curve")
    return not curve or any(entry.get("zero_variance", 0) < 1 for entry in curve)


def close(one: Steering, other: Steering) -> bool:
    return bool(torch.allclose(one.direction * one.absolute, other.direction * other.absolute, rtol=1e-4))


@pytest.mark.parametrize("method", [name for name in ALL if name != "base"])
def test_no_method_is_the_base_everywhere(method: str) -> None:
    """Random models may say the same by chance; not on all architectures."""
    quick_first = sorted(ARCHITECTURES, key=lambda arch: arch not in QUICK[method])
    arms = [Arm(method, way_of(method, arch)) for arch in quick_first]
    assert any(texts(answers(arm)) != untouched(arm.way) for arm in arms)


# --- the base itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_base_is_asked_and_answers_as_in_transformers(arch: str, turned: bool) -> None:
    """Prompt tokens from the tokenizer's own chat template, text from `generate`, nothing of the lab between."""
    way = Way(arch, turned)
    model, task = base(way), task_for(way)
    for problem in task.problems("test", 3):
        ids = torch.tensor([model.encode(problem.prompt)])
        bos = model.tokenizer.bos_token_id
        assert bos is None or ids[0].tolist().count(bos) == 1
        drawn = model.hf.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=LENGTH,
            suppress_tokens=list(model.banned_ids) or None,
        )[0, ids.shape[1] :]  # fmt: skip
        theirs = model.tokenizer.decode(drawn, skip_special_tokens=True)
        (ours,) = Policy(model, task_decoding(task)).answer([problem], task, label="letters", seed=0)
        if way.levels["dtype"] == "float32":
            assert ours.text == min((theirs.split(stop)[0] for stop in task.stop), key=len, default=theirs)


# --- refusals ----------------------------------------------------------------------------------------------------


def refusal(arm: Arm, **options: object) -> str:
    before = pristine(arm.way)
    with pytest.raises(ElicitError) as caught:
        fit(arm, **options)  # type: ignore[arg-type]
    assert state(base(arm.way)) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("method", ["grpo", "rl_steering"])
def test_gpt2_is_reinforced_on_prompts_of_different_lengths(method: str) -> None:
    """Its positions are absolute: prompts of one length share a pass, so that padding shifts none."""
    arm = Arm(method, way_of(method, "gpt2"))
    policy = fitted(arm)
    assert policy.weights is not None or policy.steering
    assert len({answer.prompt_tokens for answer in answers(arm)}) > 1
    assert "note" not in policy.record


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_without_an_sae_the_command_that_trains_one_is_named(arch: str) -> None:
    arm = Arm("sae_steering", way_of("sae_steering", arch))
    told = refusal(arm, saes=())
    name = base(arm.way).name
    assert told == (
        f"no SAE comes with the lab for {name}. Type: elicit sae train {name} --layer 1, and name its folder in `saes`."
    )


def test_an_sae_of_another_model_is_refused() -> None:
    from tests.support.arms import dictionary

    told = refusal(Arm("sae_steering", Way("llama", False)), saes=(dictionary(Way("qwen3", True), 1),), layers=(1,))
    assert "qwen3-turned" in told
    assert "llama" in told


def test_an_amateur_of_another_tokenizer_is_refused() -> None:
    arm = Arm("contrastive_decoding", Way("llama", False))
    assert "have different tokenizers" in refusal(arm, amateur_arm=None)


def test_an_arm_that_prompts_cannot_run_beside_the_base() -> None:
    arm = Arm("hybrid_steering", way_of("hybrid_steering", "llama"))
    assert "arm 'base' is the base itself" in refusal(arm, tuned="base")
    assert Prompting() == fitted(Arm("base", arm.way)).prompting


def test_thinking_that_ends_in_no_mark_cannot_be_forced() -> None:
    """Plain English has no answer mark: the spec must name one."""
    arm = Arm("budget_forcing", way_of("budget_forcing", "qwen2"))
    assert arm.way.levels["asked"] == "through a chat template"
    told = refusal(arm, end=None)
    assert told.startswith(
        "budget_forcing: answers to task 'letters' do not have a known mark that ends thinking. Give its text"
    )

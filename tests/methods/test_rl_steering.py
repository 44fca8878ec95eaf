"""RL-trained steering: gradients reach the vectors and nothing else, at the right positions; the result is steering."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from safetensors.torch import load_file

import saes
from elicit import seeds
from elicit.adapters import clone_sharing_tensors
from elicit.errors import ElicitError
from elicit.fitting.vector_init import StartingVectors, build_trainable_edits, initialise_vectors
from elicit.loading import architectures
from elicit.methods.catalog import configure_method
from elicit.methods.controls.random_vector import RandomVector
from elicit.methods.controls.untrained_vector import UntrainedVector
from elicit.methods.steering.rl_steering import RlSteering
from elicit.model import BaseModel, load
from elicit.policy import Policy
from elicit.sampling import Completion
from elicit.steering import PositionTracker, steer
from elicit.steering.residuals import residuals_at
from elicit.tasks import Problem, Verdict, get
from elicit.tasks.sequential import draw_sequentially
from elicit.training import TrainingFailed, rollouts
from tests.support.models import tiny_model
from tests.support.tiny import tiny
from tests.training.support import untouched

#: Drawn one after another, so that prompts have different lengths: a pool holds next to no short problems.
ADDITION = draw_sequentially(get("addition", digits=(1, 3)))


@dataclasses.dataclass(frozen=True)
class Vowels:
    """Addition, but what is right is what has a vowel in it: an untrained model is right now and then."""

    inner: Any = ADDITION
    max_new_tokens: int = 6

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict("a", any(letter in completion for letter in "aeiou"), False, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


TASK: Any = Vowels()
SMALL: dict[str, Any] = {
    "steps": 3,
    "problems": 3,
    "generations": 4,
    "pilot_problems": 12,
    "pilot_samples": 4,
    "train_problems": 8,
    "strength": 0.3,
}


def _fit(base: BaseModel, seed: int = 0, **options: Any) -> Policy:
    return RlSteering(**{**SMALL, **options}).fit(base, TASK, seed=seed, needs={})


# --- gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["first", "generated", "prompt", "first:2", "decay:3", "all"])
def test_gradients_are_finite_differences(positions: str) -> None:
    """Of the log-probability of completions in a batch padded on both sides, in double precision."""
    hf, _ = tiny("gpt_neox", dtype=torch.float64)  # its norms do not fall back to single precision
    hf = clone_sharing_tensors(hf)
    generator = torch.Generator().manual_seed(0)
    start = StartingVectors(
        (0, 1), torch.randn(2, 32, generator=generator, dtype=torch.float64), (1.7, 3.1), ("a", "b")
    )
    vectors = torch.nn.Parameter(start.vectors.clone())
    rows = [(5, 4), (3, 6), (4, 2)]  # prompt and completion tokens
    left, right = max(p for p, _ in rows), max(c for _, c in rows)
    ids = torch.randint(4, 90, (3, left + right), generator=generator)
    mask = torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(rows):
        mask[row, left - prompt : left + completion] = 1

    def score() -> torch.Tensor:
        opened = build_trainable_edits(start, vectors, positions)
        layers: Any = architectures.get_decoder_layers(hf)
        with steer(hf.base_model, layers, PositionTracker(), opened, prompt_lengths=[prompt for prompt, _ in rows]):
            logits = hf(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
        picked = logits[:, left - 1 : -1].gather(2, ids[:, left:, None])[..., 0]
        return (picked * mask[:, left:]).sum()

    (gradient,) = torch.autograd.grad(score(), vectors)
    assert gradient.norm(dim=1).min() > 1e-3
    assert all(not p.requires_grad for p in hf.parameters())
    for i, j in [(0, 0), (0, 17), (0, 31), (1, 3), (1, 22)]:
        values = []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                vectors[i, j] += shift
                values.append(float(score()))
                vectors[i, j] -= shift
        assert float(gradient[i, j]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("positions", ["first", "generated", "all"])
def test_the_trainers_gradient_by_hand(positions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dr. GRPO on one step: rows one by one without padding, and a vector added by hand at absolute positions."""
    base, drawn, found = tiny_model("llama"), [], []
    sample, training_step = rollouts.sample_rollouts, trl.GRPOTrainer.training_step

    def sampling(engine: Any, problems: Any, encode: Any, **options: Any) -> list[list[Completion]]:
        groups = sample(engine, problems, encode, **options)
        drawn.extend((problem, group) for problem, group in zip(problems, groups, strict=True))
        return groups

    def stepping(self: Any, model: Any, *args: Any, **options: Any) -> Any:
        loss = training_step(self, model, *args, **options)
        found.append(model.steering_vectors.grad.clone())
        return loss

    monkeypatch.setattr(rollouts, "sample_rollouts", sampling)
    monkeypatch.setattr(trl.GRPOTrainer, "training_step", stepping)
    config = RlSteering(**{**SMALL, "steps": 1, "generations": 8, "positions": positions})
    start = initialise_vectors(config, base, TASK, 0)
    config.fit(base, TASK, seed=0, needs={})
    assert len(found) == 1
    vectors = torch.nn.Parameter(start.vectors.clone())
    total = torch.zeros(())
    for problem, group in drawn:
        rewards = torch.tensor([float(TASK.verify(problem, one.text).correct) for one in group])
        prompt = base.encode(problem.prompt)
        for one, advantage in zip(group, rewards - rewards.mean(), strict=True):
            logits = _by_hand(base, start, vectors, [*prompt, *one.tokens], len(prompt), positions)
            picked = logits[len(prompt) - 1 : -1].gather(1, torch.tensor(one.tokens)[:, None])
            total = total - advantage * picked.sum()
    (wanted,) = torch.autograd.grad(total / (len(drawn) * 8 * TASK.max_new_tokens), vectors)
    assert wanted.norm() > 1e-4
    assert torch.allclose(found[0], wanted, rtol=2e-3, atol=1e-6)


def _by_hand(
    base: BaseModel, start: StartingVectors, vectors: torch.Tensor, ids: list[int], prompt: int, positions: str
) -> torch.Tensor:
    """Log-probabilities at every position, with each vector added from P-1 (first: there alone; all: everywhere)."""
    at = torch.zeros(len(ids), 1)
    at[{"first": slice(prompt - 1, prompt), "generated": slice(prompt - 1, None), "all": slice(None)}[positions]] = 1.0

    def adding(i: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> Any:
            h = output[0] if isinstance(output, tuple) else output
            h = h + at * start.units[i] * vectors[i]
            return (h, *output[1:]) if isinstance(output, tuple) else h

        return hook

    handles = [base.layers[layer].register_forward_hook(adding(i)) for i, layer in enumerate(start.layers)]
    try:
        logits: torch.Tensor = base.hf(torch.tensor([ids])).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return logits.log_softmax(-1)


def test_log_probabilities_under_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the trainer recomputes in its padded, shuffled rows is what the sampler said, with moving vectors on."""
    sampled: dict[tuple[int, ...], tuple[float, ...]] = {}
    trained: dict[tuple[int, ...], list[float]] = {}
    sample, compute = rollouts.sample_rollouts, trl.GRPOTrainer._get_per_token_logps_and_entropies

    def sampling(engine: Any, problems: Any, encode: Any, **options: Any) -> list[list[Completion]]:
        groups = sample(engine, problems, encode, **options)
        for problem, group in zip(problems, groups, strict=True):
            sampled.update({(options["step"], *encode(problem), *one.tokens): one.logprobs for one in group})
        return groups

    def computing(this: Any, model: Any, ids: Any, mask: Any, keep: int, *args: Any, **options: Any) -> Any:
        out = compute(this, model, ids, mask, keep, *args, **options)
        for row, real, logps in zip(ids, mask.bool(), out[0], strict=True):
            trained[(this.state.global_step, *row[real].tolist())] = logps[real[-keep:]].tolist()
        return out

    monkeypatch.setattr(rollouts, "sample_rollouts", sampling)
    monkeypatch.setattr(trl.GRPOTrainer, "_get_per_token_logps_and_entropies", computing)
    _fit(tiny_model("qwen3"), rows=4, learning_rate=0.05)
    assert len({len(key) for key in sampled}) > 3
    assert trained.keys() < sampled.keys(), "in several passes, rollouts without an advantage are left out"
    assert len(trained) > 10
    for key, logprobs in trained.items():
        assert logprobs == pytest.approx(sampled[key], abs=2e-4)


# --- what changes, and what does not -----------------------------------------------------------------------------


def test_the_weights_stay_as_they_are() -> None:
    base = tiny_model("qwen2")
    before = untouched(base)
    policy = _fit(base, learning_rate=0.1)
    assert untouched(base) == before
    assert policy.weights is None
    clone = clone_sharing_tensors(base.hf)
    own = dict(base.hf.named_parameters())
    assert all(p.data_ptr() == own[name].data_ptr() and p is not own[name] for name, p in clone.named_parameters())


def test_a_start_that_is_not_trained() -> None:
    """steps: 0 is noise drawn by hand; the arm `untrained_vector` has its directions and the trained lengths."""
    base = tiny_model()
    still = _fit(base, seed=3, steps=0)
    trained = _fit(base, seed=3, learning_rate=0.1)
    arm = UntrainedVector().fit(base, TASK, seed=3, needs={"rl_steering": trained})
    assert [edit.absolute for edit in arm.steering] == [edit.absolute for edit in trained.steering]
    assert all(torch.equal(*(p.steering[i].direction for p in (arm, still))) for i in range(2))
    assert [(edit.layer, edit.positions) for edit in arm.steering] == [(e.layer, e.positions) for e in still.steering]
    assert max(edit.absolute for edit in arm.steering) > 1.2 * max(edit.absolute for edit in still.steering)
    untrained = UntrainedVector().fit(base, TASK, seed=3, needs={"rl_steering": still})
    assert untrained.sha256 == still.sha256 != trained.sha256
    assert [edit.layer for edit in still.steering] == [0, 1]  # all but the last
    texts = [p.prompt + str(TASK.worked(p)) for p in TASK.problems("train", 8)]
    norms = base.residual_norms_of(texts).medians
    for edit in still.steering:
        drawn = torch.from_numpy(
            seeds.make_generator("steering noise", 3, edit.layer).standard_normal(base.d_model)
        ).float()
        assert torch.allclose(edit.direction, drawn / drawn.norm(), atol=1e-6)
        assert (edit.mode, edit.positions, edit.unit) == ("add", "first", norms[edit.layer])
        assert edit.strength == pytest.approx(0.3, rel=1e-5)
        assert edit.absolute == pytest.approx(0.3 * norms[edit.layer], rel=1e-5)
    moved = trained.record["end"]["norms"]
    assert [edit.strength for edit in trained.steering] == pytest.approx(moved)
    assert all(cosine < 0.999 for cosine in trained.record["turned"])
    with pytest.raises(ElicitError, match=r"its parent 'base' is not an rl_steering arm"):
        UntrainedVector(parent="base").fit(base, TASK, seed=0, needs={"base": Policy(base)})


def test_starts_from_means_and_features() -> None:
    base, task = load("cued"), get("addition")
    mean = initialise_vectors(RlSteering(start="mean", strength=0.5, train_problems=16), base, task, 0)
    problems = task.problems("train", 16)
    prompts = [[str(p.cue_prompt) for p in problems], [p.prompt for p in problems]]
    sides = [[base.encode(text) for text in texts] for texts in prompts]
    means = [residuals_at(base.hf, base.layers, ids, [len(one) - 1 for one in ids]).mean(dim=1) for ids in sides]
    difference = (means[0] - means[1])[:2]
    assert torch.allclose(mean.vectors, 0.5 * difference / difference.norm(dim=1, keepdim=True), atol=1e-6)
    named = initialise_vectors(RlSteering(start="feature", feature="cued/L1/379"), base, task, 0)
    weights = Path(str(saes.__file__)).parent / "weights/cued/L1/sae_weights.safetensors"
    row = load_file(weights)["W_dec"][379].float()
    assert named.layers == (1,)
    assert torch.allclose(named.vectors[0], 0.25 * row / row.norm(), atol=1e-6)
    # Without a name, the feature with the largest difference between cued and plain prompts.
    found = initialise_vectors(RlSteering(start="feature", train_problems=16), base, task, 0)
    sae = saes.load("cued/L1")
    cued, plain = (sae.encode(residuals_at(base.hf, base.layers, ids, [len(o) - 1 for o in ids])[1]) for ids in sides)
    best = int((cued.mean(dim=0) - plain.mean(dim=0)).argmax())
    assert (found.layers, found.labels) == ((1,), (f"feature cued/L1/{best}",))
    with pytest.raises(ElicitError, match=r"rl_steering: a feature of cued/L1 is at layer 1; leave `layers` out"):
        initialise_vectors(RlSteering(start="feature", feature="cued/L1/379", layers=(0,)), base, task, 0)
    with pytest.raises(ElicitError, match=r"feature is 'L1-379'; expected SAE/NUMBER, such as cued/L1/379"):
        initialise_vectors(RlSteering(start="feature", feature="L1-379"), base, task, 0)


def test_it_is_saved_and_loaded_like_any_steering(tmp_path: Path) -> None:
    base = tiny_model()
    policy = _fit(base, positions="decay:3", learning_rate=0.05)
    policy.save(tmp_path)
    loaded = Policy.load(tmp_path, base)
    assert loaded.sha256 == policy.sha256
    problems = TASK.problems("test", 12)
    texts, again = ([a.text for a in one.answer(problems, TASK, label="t", seed=0)] for one in (policy, loaded))
    assert texts == again
    assert texts != [a.text for a in Policy(base, policy.decoding).answer(problems, TASK, label="t", seed=0)]
    control = RandomVector(parent="rl_steering").fit(base, TASK, seed=0, needs={"rl_steering": policy})
    assert [e.absolute for e in control.steering] == [e.absolute for e in policy.steering]
    assert all(
        not torch.allclose(a.direction, b.direction) for a, b in zip(control.steering, policy.steering, strict=True)
    )


def test_the_record() -> None:
    base = tiny_model()
    policy = _fit(base)
    record = json.loads(json.dumps(policy.record, allow_nan=False))
    assert [entry["step"] for entry in record["curve"]] == [1, 2, 3]
    assert record["curve"][-1]["norm"] == pytest.approx(math.hypot(*record["end"]["norms"]), rel=1e-5)
    assert record["pilot"]["problems"] == record["train"]["labels"] == 12
    assert (record["train"]["teacher_tokens"], record["train"]["steps"]) == (0, 3)
    assert record["train"]["generated_tokens"] > 12 * 4  # the pilot's and the rollouts'
    assert record["learning_rate"] == pytest.approx(0.1 / math.sqrt(base.d_model))
    assert record["start"]["norms"] == pytest.approx([0.3, 0.3])
    assert record["trained_values"] == 2 * base.d_model
    assert record["steering"] == [str(edit) for edit in policy.steering]


def test_the_seed_decides_and_the_coin_differs() -> None:
    base = tiny_model()
    options = {**SMALL, "learning_rate": 0.05}
    one, again, other = (_fit(base, seed=seed, learning_rate=0.05) for seed in (0, 0, 1))
    assert one.sha256 == again.sha256 != other.sha256
    coin = RlSteering(**options, reward="random").fit(base, TASK, seed=0, needs={})
    assert coin.sha256 != one.sha256
    assert coin.record["start"] == one.record["start"]  # same start, same pilot: only the reward differs
    assert coin.record["pilot"] == one.record["pilot"]


def test_a_killed_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_model()
    config = RlSteering(**{**SMALL, "steps": 5, "checkpoint_every": 2, "learning_rate": 0.05})
    whole = config.fit(base, TASK, seed=0, needs={})
    sample = rollouts.sample_rollouts

    def fragile(*args: Any, step: int, **options: Any) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return sample(*args, step=step, **options)

    with monkeypatch.context() as patched:
        patched.setattr(rollouts, "sample_rollouts", fragile)
        with pytest.raises(KeyboardInterrupt):
            config.fit(base, TASK, seed=0, needs={}, scratch=tmp_path)
    resumed = config.fit(base, TASK, seed=0, needs={}, scratch=tmp_path)
    assert resumed.sha256 == whole.sha256
    assert resumed.record["curve"] == whole.record["curve"]


# --- what can go wrong -------------------------------------------------------------------------------------------


def test_a_vector_that_runs_away() -> None:
    with pytest.raises(
        TrainingFailed, match=r"step 1: training diverged: the trained values have norm .*, the limit is 5"
    ):
        _fit(tiny_model(), learning_rate=10.0, norm_limit=5.0)


def test_nothing_to_learn_from_is_a_result() -> None:
    """No sample is ever right: the start is the policy, and the record says why."""
    base, never = tiny_model(), Vowels()
    object.__setattr__(never, "verify", lambda problem, text: Verdict("a", False, False, None))
    task: Any = never
    policy = RlSteering(**SMALL).fit(base, task, seed=0, needs={})
    assert policy.sha256 == RlSteering(**{**SMALL, "steps": 0}).fit(base, task, seed=0, needs={}).sha256
    assert "nothing was trained. Of 12 problems the starting vectors always solved 0" in policy.record["note"]
    assert len(policy.record["pilot"]["unsolved"]) == 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"positions": "last"},
            r"rl_steering: positions: 'last' is not a position form\. Expected one of: all, prompt",
        ),
        ({"layers": []}, r"rl_steering: layers is empty; name at least one, or leave it out"),
        ({"feature": "cued/L1/379"}, r"rl_steering: feature belongs to start: feature"),
        ({"generations": 1}, r"rl_steering: generations is 1; .* expected at least 2"),
        ({"steps": -1}, r"rl_steering: steps is 0; expected a number above 0"),
        ({"start": "means"}, r"method 'rl_steering', field 'start': 'means'"),
        ({"contrast": "templates"}, r"`positive` belongs to contrast: templates, which needs it"),
    ],
)
def test_bad_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ElicitError, match=said):
        configure_method("rl_steering", options)


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(ElicitError, match=r"layer 9 does not exist"):
        _fit(tiny_model(), layers=(0, 9))

"""Training: the same plan gives the same SAE, wherever and however often it was interrupted."""

from __future__ import annotations

import functools
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from elicit.errors import ElicitError
from saes.sae import SAE
from saes.training import ARCHITECTURES, Progress, text, train
from tests.support.forked import forked
from tests.support.models import tiny_model
from tests.support.tiny import tiny

LAYER = 1
PLAN: dict[str, Any] = {"layer": LAYER, "width": 48, "k": 4, "batch": 128, "tokens": 6400}


@functools.cache
def model(arch: str = "llama") -> Any:
    torch.set_num_threads(1)
    return tiny(arch)[0]


@functools.cache
def texts(n: int = 60) -> list[tuple[int, ...]]:
    draws = np.random.default_rng(0)
    return [(1, *draws.integers(4, 60, size=int(draws.integers(3, 30))).tolist()) for _ in range(n)]


def weights(sae: SAE) -> dict[str, torch.Tensor]:
    module: Any = sae.coder
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def same(a: SAE, b: SAE) -> bool:
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@functools.cache
def reference(architecture: str = "topk") -> SAE:
    return train(model(), texts(), architecture=architecture, **PLAN)


# --- determinism ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_sae_and_leaves_the_callers_random_state_alone(architecture: str) -> None:
    torch.manual_seed(11), np.random.seed(11), random.seed(11)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    again = train(model(), texts(), architecture=architecture, **PLAN)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert before[2] == random.getstate()
    assert same(again, reference(architecture))


def test_another_seed_gives_another_sae() -> None:
    assert not same(train(model(), texts(), seed=1, **PLAN), reference())


def test_a_bridge_gives_the_same_sae_up_to_rounding() -> None:
    base = tiny_model("llama")
    plain = train(base.hf, texts(), **PLAN)
    bridged = train(base.bridge, texts(), **PLAN)
    torch.testing.assert_close(bridged.directions, plain.directions, atol=1e-3, rtol=1e-3)
    assert bridged.manifest.card["explained_variance"]["value"] == pytest.approx(
        plain.manifest.card["explained_variance"]["value"], abs=1e-3
    )


SCRIPT = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tests.saes.test_train import PLAN, model, texts
from saes.training import train
def show(progress): print(progress.tokens, flush=True)
train(model(), texts(), out=Path(sys.argv[1]), checkpoint_seconds=float(sys.argv[2]), progress=show, **PLAN)
"""


def command(out: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out), str(seconds)], stdout=subprocess.PIPE, text=True, env=os.environ
    )


@pytest.mark.slow
def test_killed_in_another_process_and_resumed_here(tmp_path: Path) -> None:
    """SIGKILL after some steps; what this process then makes of the folder equals what it makes without one."""
    out = tmp_path / "sae"
    with command(out, 0.0) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 2000:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    kept = sorted(path.name for path in out.iterdir() if path.name.startswith("checkpoint-"))
    assert kept, "the kill came before the first checkpoint"
    assert not (out / "cfg.json").exists()
    first: list[Progress] = []
    resumed = train(model(), texts(), out=out, progress=first.append, **PLAN)
    assert first[0].tokens > 2000  # it did go on, and not from the start
    assert same(resumed, reference())
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", "cfg.json", "manifest.json", "sae_weights.safetensors", "spec.json",
    ]  # fmt: skip


class _Stop(Exception):
    pass


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_interrupted_again_and_again(architecture: str, tmp_path: Path) -> None:
    """Text that does not fit the buffer: the pool that a step belongs to is found by counting."""
    plan = PLAN | {"architecture": architecture, "buffer": 256}
    plain = train(model(), texts(), **plan)
    started: list[int] = []
    for stop in (1300, 2600, 5200, None):
        seen: list[int] = []

        def show(progress: Progress, stop: int | None = stop, seen: list[int] = seen) -> None:
            seen.append(progress.tokens)
            if stop is not None and progress.tokens >= stop:
                raise _Stop

        try:
            last = train(model(), texts(), out=tmp_path / "s", checkpoint_seconds=0, progress=show, **plan)
        except _Stop:
            assert stop is not None
        started.append(seen[0])
    assert started == sorted(set(started))
    assert same(last, plain)
    done = train(model(), texts(), out=tmp_path / "s", progress=lambda _: pytest.fail("trained again"), **plan)
    assert same(done, plain)


@pytest.mark.slow
def test_two_processes_agree_and_share_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "sae"
    with command(out, 1e9) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(ElicitError, match="in use by another process"):
                train(model(), texts(), out=out, **PLAN)
        finally:
            process.send_signal(signal.SIGCONT)
        process.stdout.read()
    assert process.returncode == 0
    ours = tmp_path / "ours"
    train(model(), texts(), out=ours, **PLAN)
    assert (ours / "sae_weights.safetensors").read_bytes() == (out / "sae_weights.safetensors").read_bytes()


# --- the folder -----------------------------------------------------------------------------------------------------


def test_a_folder_of_another_training_is_refused_with_the_difference(tmp_path: Path) -> None:
    train(model(), texts(), out=tmp_path / "s", **PLAN)
    with pytest.raises(ElicitError, match=r"holds another training: k 4 there, 6 now, seed 0 there, 1 now\."):
        train(model(), texts(), out=tmp_path / "s", **PLAN | {"k": 6, "seed": 1})
    with pytest.raises(ElicitError, match="text_sha256"):
        train(model(), texts()[:-1], out=tmp_path / "s", **PLAN)
    with pytest.raises(ElicitError, match="made with other weights"):
        train(tiny("llama", seed=5)[0], texts(), out=tmp_path / "s", **PLAN)
    with pytest.raises(ElicitError, match="weights_sha256 None there, abc now"):
        train(model(), texts(), out=tmp_path / "s", weights_sha256="abc", **PLAN)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ElicitError, match="holds files that are not of an SAE's training"):
        train(model(), texts(), out=tmp_path, **PLAN)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


class _Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["BOMB"],)


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(progress: Progress) -> None:
        raise _Stop

    with pytest.raises(_Stop):
        train(model(), texts(), out=tmp_path / "s", checkpoint_seconds=0, progress=stop, **PLAN)
    (state,) = (tmp_path / "s").glob("checkpoint-*/trainer_state.pt")
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    state.write_bytes(pickle.dumps(_Bomb()))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(ElicitError, match="is damaged"):
        train(model(), texts(), out=tmp_path / "s", **PLAN)
    assert not (tmp_path / "exploded").exists()


def test_plain_saelens_reads_the_folder_and_its_metadata_is_true(tmp_path: Path) -> None:
    from sae_lens import SAE as SAELensSAE

    made = train(model(), texts(), out=tmp_path / "s", model_name="tiny", stored_as="bfloat16", **PLAN)
    stored = load_file(tmp_path / "s" / "sae_weights.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    plain = SAELensSAE.load_from_disk(tmp_path / "s")
    x = text.harvest_residuals(model(), LAYER, texts())
    torch.testing.assert_close(plain.encode(x), made.encode(x))
    torch.testing.assert_close(plain(x), made.reconstruct(x))
    cfg = json.loads((tmp_path / "s" / "cfg.json").read_text())
    assert cfg["metadata"]["model_name"] == "tiny"
    assert cfg["metadata"]["hook_name"] == f"blocks.{LAYER}.hook_resid_post"
    assert "HookedTransformer" not in json.dumps(cfg)
    assert cfg["architecture"] == "topk"
    about = made.manifest
    assert (about.model, about.layer, about.tokens, about.seed, about.k) == ("tiny", LAYER, 6400, 0, 4.0)
    assert about.norm == pytest.approx(
        float(text.harvest_residuals(model(), LAYER, text.split_text(texts()).train).norm(dim=-1).median())
    )


# --- what is learned ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
def test_a_short_training_keeps_k_latents_at_inference(architecture: str) -> None:
    """SAELens's own running average of the threshold would let through several times as many."""
    sae = train(model(), texts(600), architecture=architecture, **PLAN)
    assert sae.manifest.card["l0"]["value"] == pytest.approx(4, rel=0.25)
    assert sae.manifest.training["threshold"] > 0
    h = text.sample_residuals(model(), LAYER, text.split_text(texts(600)).train)
    assert float((sae.encode(h) > 0).float().sum(-1).mean()) == pytest.approx(4, abs=0.02)
    assert sae.manifest.architecture == architecture


def test_jumprelu_comes_near_its_target() -> None:
    sae = train(model(), texts(600), **PLAN | {"architecture": "jumprelu", "tokens": 40_000})
    assert sae.manifest.card["l0"]["value"] == pytest.approx(4, rel=0.4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_planted_features_are_found(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Residuals of 20 known directions, 2 at a time: the SAE must find most of them."""
    draws = np.random.default_rng(3)
    planted = torch.from_numpy(np.linalg.qr(draws.standard_normal((32, 32)))[0][:20]).float()

    def harvest(hf: Any, layer: int, sequences: Any) -> torch.Tensor:
        ids = np.concatenate([np.asarray(sequence)[1:] for sequence in sequences])
        rows = []
        for i in ids.tolist():
            about = np.random.default_rng(i)
            chosen = about.choice(20, size=2, replace=False)
            rows.append(torch.from_numpy(about.uniform(1, 2, size=2)).float() @ planted[chosen])
        return torch.stack(rows) + 3.0  # far from the origin, as residuals are

    monkeypatch.setattr(text, "harvest_residuals", harvest)
    monkeypatch.setattr("saes.training.evaluate", lambda *_: {})
    sequences = [tuple(draws.integers(0, 4000, size=40).tolist()) for _ in range(200)]
    plan = {"layer": 0, "width": 40, "k": 2, "tokens": 80_000, "batch": 256, "lr": 3e-3}
    sae = train(model(), sequences, architecture=architecture, **plan)
    rows = torch.nn.functional.normalize(sae.directions, dim=1)
    found = (rows @ planted.T).max(0).values
    assert (found > 0.9).float().mean() >= 0.8, found


# --- text -----------------------------------------------------------------------------------------------------------


def test_held_out_text_is_not_trained_on_and_does_not_depend_on_order() -> None:
    repeated = [*texts(200), *texts(200)[:50]]
    parts = text.split_text(repeated)
    kept = {tuple(ids) for ids in parts.held_out}
    assert len(kept) == len(parts.held_out) == round(200 / 16)
    assert not kept & {tuple(ids) for ids in parts.train}
    assert kept == {tuple(ids) for ids in text.split_text(repeated[::-1]).held_out}


@pytest.mark.parametrize("buffer", [256, 100_000])
def test_an_epoch_holds_every_token_but_the_first_ones_once(buffer: int) -> None:
    """By brute force: rows of one epoch's batches, sorted, are the residuals of the text (less each pool's rest)."""
    every = text.harvest_residuals(model(), LAYER, texts())
    stream = text.iterate_residual_batches(model(), LAYER, texts(), batch=16, buffer=buffer, seed=0)
    wanted = len(every) // 16 - (0 if buffer > len(every) else 3)
    rows = torch.cat([next(stream) for _ in range(wanted)])
    distance = torch.cdist(rows.double(), every.double(), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.min(1)
    assert float(nearest.values.max()) < 1e-3
    unique = every.unique(dim=0)
    assert len(rows.unique(dim=0)) > 0.8 * min(len(unique), len(rows))
    # Shuffled: neighbours in a batch are not neighbours in the text.
    assert (nearest.indices.diff().abs() == 1).float().mean() < 0.1


@pytest.mark.parametrize("buffer", [256, 100_000])
def test_batches_from_the_middle_equal_those_from_the_start(buffer: int) -> None:
    def take(start: int, n: int) -> torch.Tensor:
        stream = text.iterate_residual_batches(model(), LAYER, texts(), batch=50, buffer=buffer, seed=2, start=start)
        return torch.stack([next(stream) for _ in range(n)])

    whole = take(0, 60)
    for start in (1, 4, 5, 17, 59):
        assert torch.equal(take(start, 60 - start), whole[start:])


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 3}, r"layer 3 does not exist\. Layers are 0 to 2\."),
        ({"layer": -1}, "layer is -1; expected a whole number of at least 0"),
        ({"k": 64}, "k is 64, more than the 48 latents"),
        ({"k": 0}, "k is 0; expected a number above 0"),
        ({"k": 2.5}, "topk needs a whole number. Type batchtopk"),
        ({"width": 0}, "width is 0; expected a whole number of at least 1"),
        ({"tokens": 100}, "tokens is 100, less than one step of 128"),
        ({"architecture": "topkk"}, "unknown SAE architecture 'topkk'. Did you mean 'topk'?"),
        ({"lr": float("nan")}, "expected a learning rate above 0"),
        ({"lr": 1e9}, "the loss is (nan|inf) at step .* Type a smaller lr"),
        ({"stored_as": "int8"}, "unknown dtype to store 'int8'"),
        ({"batch": 5000, "tokens": 10000}, "tokens to train on, less than one step of 5,000"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ElicitError, match=message):
        train(model(), texts(), **PLAN | changes)


def test_text_that_is_too_short() -> None:
    with pytest.raises(ElicitError, match="the text has 0 different sequences"):
        train(model(), [], **PLAN)
    with pytest.raises(ElicitError, match="the text has 1 different sequences"):
        train(model(), [texts()[0]] * 9, **PLAN)


def test_a_full_disk_is_one_line_and_the_training_goes_on_afterwards(tmp_path: Path) -> None:
    """A file size limit stands in for a full disk: what is written meanwhile must not be taken for a checkpoint."""
    code = """
import resource, signal, sys, torch
from pathlib import Path
from elicit.errors import ElicitError
from tests.saes.test_train import PLAN, model, texts
from saes.training import train
torch.set_num_threads(1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    train(model(), texts(), out=Path(sys.argv[1]), checkpoint_seconds=0, **PLAN)
except ElicitError as error:
    print("SAID", error)
"""
    assert "SAID no space left while writing" in forked(code, str(tmp_path / "s")).out
    assert same(train(model(), texts(), out=tmp_path / "s", **PLAN), reference())


def test_progress_is_reported_to_the_end() -> None:
    seen: list[Progress] = []
    started = time.monotonic()
    train(model(), texts(), progress=seen.append, **PLAN)
    assert [p.tokens for p in seen] == sorted({p.tokens for p in seen})
    assert seen[-1].tokens == seen[-1].total == 6400
    assert seen[-1].explained_variance > seen[0].explained_variance
    assert all(p.l0 <= 4 for p in seen)
    assert time.monotonic() - started < 60


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    train(model(), texts(), **PLAN)
    assert capfd.readouterr() == ("", "")

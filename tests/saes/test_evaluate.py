"""The card against figures worked out another way: numpy by hand, SAELens's own splice, brute force."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch

from elicit.errors import ElicitError
from saes.evaluation import evaluate
from saes.manifest import Manifest
from saes.sae import SAE
from saes.training import train
from tests.support.tiny import tiny

LAYER = 1
SKIP = 1


@functools.cache
def model(arch: str) -> Any:
    torch.set_num_threads(1)
    return tiny(arch)[0]


@functools.cache
def texts(arch: str = "llama") -> list[tuple[int, ...]]:
    """The model's own greedy text, so that ablating it does harm; ragged, some too short to be scored at all."""
    random = np.random.default_rng(0)
    starts = torch.tensor([[1, *random.integers(4, 60, size=2).tolist()] for _ in range(40)])
    written = model(arch).generate(starts, max_new_tokens=26, do_sample=False, eos_token_id=None, pad_token_id=0)
    lengths = [1, 2, 3, *random.integers(4, 30, size=37).tolist()]
    return [tuple(ids[:n]) for ids, n in zip(written.tolist(), lengths, strict=True)]


@functools.cache
def trained(arch: str = "llama") -> tuple[Any, SAE]:
    hf = model(arch)
    return hf, train(hf, texts(arch), layer=LAYER, width=64, k=4, tokens=4096, batch=128)


@functools.cache
def card(arch: str = "llama") -> dict[str, Any]:
    hf, sae = trained(arch)
    return evaluate(hf, sae, texts(arch))


def caught(hf: Any, ids: tuple[int, ...]) -> torch.Tensor:
    """The residual after the layer by transformers' own output_hidden_states."""
    with torch.no_grad():
        return hf(torch.tensor([ids]), output_hidden_states=True).hidden_states[LAYER + 1][0]


def rows(arch: str = "llama") -> np.ndarray:
    hf, _ = trained(arch)
    return torch.cat([caught(hf, ids)[SKIP:] for ids in texts(arch)]).double().numpy()


def test_explained_variance_l0_dead_and_density_by_brute_force() -> None:
    _, sae = trained()
    x = rows()
    module: Any = sae.coder
    weights = {name: value.detach().double().numpy() for name, value in module.named_parameters()}
    pre = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
    norms = np.linalg.norm(weights["W_dec"], axis=1)
    pre *= norms
    f = np.zeros_like(pre)
    for row in range(len(x)):
        top = np.argsort(pre[row])[-4:]
        f[row, top] = np.maximum(pre[row, top], 0)
    out = (f / norms) @ weights["W_dec"] + weights["b_dec"]
    expected = 1 - ((x - out) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    found = card()
    assert found["tokens"] == len(x)
    assert found["explained_variance"]["value"] == pytest.approx(expected, abs=1e-5)
    assert found["l0"]["value"] == pytest.approx((f > 0).sum(1).mean(), abs=1e-3)
    density = (f > 0).mean(0)
    assert found["dead"]["value"] == pytest.approx((density == 0).mean())
    assert found["density"]["dead"] == (density == 0).sum()
    assert sum(found["density"]["counts"]) + found["density"]["dead"] == 64
    low = (density > 0) & (density < 10**-1.5)
    assert sum(found["density"]["counts"][:9]) == low.sum()
    assert found["norm"] == pytest.approx(np.quantile(np.linalg.norm(x, axis=1), 0.5, method="lower"), rel=1e-5)


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gemma2"])
def test_cross_entropy_by_running_the_upper_layers_alone(arch: str) -> None:
    """One sequence at a time, no padding, with the reconstruction put in by a forward *pre*-hook of the next layer."""
    hf, sae = trained(arch)
    layers = hf.transformer.h if arch == "gpt2" else hf.model.layers
    mean = torch.from_numpy(rows(arch).mean(0)).float()
    totals = np.zeros(3)
    count = 0
    for ids in texts(arch):
        if len(ids) <= SKIP + 1:
            continue
        h = caught(hf, ids)
        for column, new in enumerate((h, sae.reconstruct(h), mean.expand_as(h))):
            put = torch.cat([h[:SKIP], new[SKIP:]])[None]

            def swap(module: Any, args: Any, kwargs: Any, put: torch.Tensor = put) -> Any:
                return ((put, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": put})

            handle = layers[LAYER + 1].register_forward_pre_hook(swap, with_kwargs=True)
            with torch.no_grad():
                logp = hf(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            handle.remove()
            for position in range(SKIP, len(ids) - 1):
                totals[column] -= float(logp[position, ids[position + 1]])
        count += len(ids) - 1 - SKIP
    clean, spliced, ablated = totals / count
    found = card(arch)["cross_entropy"]
    assert found["clean"]["n"] == count
    assert found["clean"]["value"] == pytest.approx(clean, abs=1e-4)
    assert found["reconstruction"]["value"] == pytest.approx(spliced, abs=1e-4)
    assert found["mean_ablation"]["value"] == pytest.approx(ablated, abs=1e-4)
    assert found["recovered"]["value"] == pytest.approx((ablated - spliced) / (ablated - clean), abs=1e-3)
    assert abs(spliced - clean) > 0.01  # the splice does something that the test would see


def test_an_sae_that_reconstructs_everything_recovers_everything() -> None:
    """2 d latents, +-e_i: the identity. And its mirror image, which always answers the mean."""
    hf, _ = trained()
    x = torch.from_numpy(rows()).float()
    d = x.shape[1]

    class Identity:
        def encode(self, h: torch.Tensor) -> torch.Tensor:
            return torch.cat([h.relu(), (-h).relu()], dim=-1)

        def decode(self, f: torch.Tensor) -> torch.Tensor:
            return f[..., :d] - f[..., d:]

        def to(self, *args: Any, **kwargs: Any) -> Any:
            return self

    class Mean(Identity):
        def decode(self, f: torch.Tensor) -> torch.Tensor:
            return x.mean(0).expand(*f.shape[:-1], d)

    about = Manifest(model="m", layer=LAYER, hook=f"blocks.{LAYER}.hook_resid_post", architecture="standard")
    eye = torch.cat([torch.eye(d), -torch.eye(d)])
    perfect = evaluate(hf, SAE(Identity(), eye, about, "identity", "x"), texts())
    assert perfect["explained_variance"]["value"] == pytest.approx(1)
    assert perfect["cross_entropy"]["recovered"]["value"] == pytest.approx(1)
    assert perfect["cross_entropy"]["reconstruction"]["value"] == pytest.approx(
        perfect["cross_entropy"]["clean"]["value"]
    )
    useless = evaluate(hf, SAE(Mean(), eye, about, "mean", "x"), texts())
    assert useless["explained_variance"]["value"] == pytest.approx(0, abs=1e-6)
    assert useless["cross_entropy"]["recovered"]["value"] == pytest.approx(0, abs=1e-6)


def test_intervals_are_clustered_by_sequence() -> None:
    """Against the textbook interval of a ratio of sums over clusters (Cochran 1977, 2.30)."""
    hf, sae = trained()
    some = [ids for ids in texts() if len(ids) > 3]
    wide = evaluate(hf, sae, some)["cross_entropy"]["clean"]
    low, high = wide["ci"]
    assert low < wide["value"] < high
    losses, counts = [], []
    for ids in some:
        with torch.no_grad():
            logp = hf(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        per = [-float(logp[p, ids[p + 1]]) for p in range(SKIP, len(ids) - 1)]
        losses.append(sum(per))
        counts.append(len(per))
    y, m = np.array(losses), np.array(counts)
    residual = y - (y.sum() / m.sum()) * m
    half = 1.96 * np.sqrt(len(y) * residual.var(ddof=1)) / m.sum()
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)


def test_what_cannot_be_told_is_null() -> None:
    hf, sae = trained()
    one = evaluate(hf, sae, [texts()[10]])
    assert one["explained_variance"]["ci"] is None  # one sequence has no spread
    two = evaluate(hf, sae, [(1, 9)] * 3)  # nothing to predict behind the first token
    assert two["cross_entropy"]["clean"] == {"value": None, "n": 0, "ci": None}
    assert two["cross_entropy"]["recovered"]["value"] is None


def test_batches_and_padding_do_not_matter() -> None:
    hf, sae = trained()
    together = card()
    hooks = len(hf.model.layers[LAYER]._forward_hooks)
    again = evaluate(hf, sae, list(reversed(texts())))
    for name in ("explained_variance", "l0"):
        assert again[name]["value"] == pytest.approx(together[name]["value"], abs=1e-6)
    assert again["cross_entropy"]["recovered"]["value"] == pytest.approx(
        together["cross_entropy"]["recovered"]["value"], abs=1e-5
    )
    assert len(hf.model.layers[LAYER]._forward_hooks) == hooks  # nothing stays attached


def test_bad_input_is_one_line() -> None:
    hf, sae = trained()
    with pytest.raises(ElicitError, match="no sequence of more than 1 tokens"):
        evaluate(hf, sae, [(5,)])
    with pytest.raises(ElicitError, match="no sequence"):
        evaluate(hf, sae, [])
    other = SAE(sae.coder, torch.zeros(4, 7), sae.manifest, "narrow", "x")
    with pytest.raises(ElicitError, match="'narrow' reads residuals of width 7, but the model's are 32 wide"):
        evaluate(hf, other, texts())

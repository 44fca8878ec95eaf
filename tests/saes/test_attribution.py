"""Attribution to a logit difference: against finite differences, the logits themselves, and TransformerLens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

import elicit
from saes import activations
from saes.discovery import Span, discover
from saes.discovery.attribution import attribute_spans, find_norm_before_unembedding, trace_prompts
from tests.saes import brute
from tests.saes.brute import spans
from tests.saes.tiny_sae import tiny_sae
from tests.support.models import tiny_model

MODEL = tiny_model("llama")
SAE = tiny_sae()
POSITIVE, NEGATIVE = spans("positive", 24), spans("negative", 17)


def logits_with(model: Any, layer: int, ids: Sequence[int], shift: torch.Tensor) -> torch.Tensor:
    """Logits at the last position with `shift` added to the residual there."""

    def add(module: Any, args: Any, output: Any) -> Any:
        h = (output[0] if isinstance(output, tuple) else output).clone()
        h[0, -1] += shift
        return (h, *output[1:]) if isinstance(output, tuple) else h

    handle = activations.find_decoder_layers(model)[layer].register_forward_hook(add)
    try:
        with torch.no_grad():
            return model(input_ids=torch.tensor([list(ids)])).logits[0, -1]
    finally:
        handle.remove()


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gemma2", "gpt_neox", "olmo2"])
def test_attribution_and_patching_are_finite_differences(arch: str) -> None:
    model = tiny_model(arch).hf.double()
    try:
        table = discover(
            model, SAE, POSITIVE[:5], NEGATIVE[:4], scorers=["attribution", "patching"], logit_difference=(50, 60)
        )
        step, effect = 1e-2, {}  # norms compute in float32 whatever the weights: smaller steps are rounding
        for name, side in (("positive", POSITIVE[:5]), ("negative", NEGATIVE[:4])):
            for feature in (0, 5, 11, 17):
                slopes, values = [], []
                for span in side:
                    ids = list(span.ids[: span.stop])
                    up, down = (
                        logits_with(model, 1, ids, sign * step * SAE.directions[feature].double()) for sign in (1, -1)
                    )
                    slopes.append(float((up[50] - up[60]) - (down[50] - down[60])) / (2 * step))
                    last = Span.last(ids)
                    values.append(brute.activations_of(model, SAE, [last])[0][0, feature])
                effect[name, feature] = float(np.mean(np.multiply(slopes, values))), float(np.mean(slopes))
        for feature in (0, 5, 11, 17):
            expected = effect["positive", feature][0] - effect["negative", feature][0]
            assert table.loc[feature, "attribution"] == pytest.approx(expected, rel=2e-3, abs=2e-4)
            difference = table.loc[feature, "mean_positive"] - table.loc[feature, "mean_negative"]
            assert table.loc[feature, "patching"] == pytest.approx(
                difference * effect["negative", feature][1], rel=2e-3, abs=2e-4
            )
        assert (table["attribution"].abs() > 1e-3).sum() > 3
    finally:
        model.float()


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gemma2", "gemma3", "qwen3", "gpt_neox", "olmo2", "phi3"])
def test_direct_attribution_of_the_whole_residual_is_the_logit_difference(arch: str) -> None:
    """A dictionary of one feature whose decoder row is the final residual: all of the logit difference but biases."""
    model = tiny_model(arch).hf
    norm = find_norm_before_unembedding(model)
    caught: list[torch.Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _, args: caught.append(args[0].detach()))
    span = Span.last([1, 40, 50, 60, 70])
    try:
        (traced,) = trace_prompts(model, 1, [span], (50, 60), batch_tokens=100)
    finally:
        handle.remove()
    found = float(traced.direct[0] @ caught[0][0, -1])
    expected = float(traced.difference[0])
    cap = getattr(model.config, "final_logit_softcapping", None)
    if cap:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([list(span.ids)])).logits[0, -1]
        raw = cap * torch.atanh(logits / cap)
        expected = float(raw[50] - raw[60])
    bias = getattr(norm, "bias", None)
    if bias is not None:
        rows = model.get_output_embeddings().weight
        found += float((rows[50] - rows[60]).detach() @ bias.detach())
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_direct_attribution_is_transformer_lens_logit_attribution() -> None:
    model = elicit.load("cued")
    import saes

    sae = saes.load("cued/L1")
    prompts = [model.encode(problem.prompt) for problem in elicit.tasks.get("addition").problems("train", 3)]
    longest = max(map(len, prompts))
    one = [Span.last(ids) for ids in prompts if len(ids) == longest]
    two = [Span.last([1, *ids[2:]]) for ids in prompts if len(ids) == longest]
    table = discover(model.hf, sae, one, two, scorers=["dla"], logit_difference=(7, 9)).sort_index()
    sides = []
    for side in (one, two):
        ids = torch.tensor([list(span.ids) for span in side])
        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(ids)
            f = sae.encode(cache["blocks.1.hook_out"][:, -1])
            # TransformerLens leaves the norm's gain to weight folding; here it goes into the directions by hand.
            rows = (f[:, :, None] * sae.directions * model.hf.model.norm.weight).transpose(0, 1)
            sides.append(cache.logit_attrs(rows, 7, 9, pos_slice=-1).mean(1).numpy())
    np.testing.assert_allclose(table["dla"], sides[0] - sides[1], rtol=1e-3, atol=1e-4)
    assert np.abs(table["dla"]).max() > 1e-2


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_a_bridge_gives_what_its_model_gives(arch: str) -> None:
    base = tiny_model(arch)
    ours, theirs = (
        discover(model, SAE, POSITIVE, NEGATIVE, logit_difference=(50, 60)).sort_index()
        for model in (base.hf, base.bridge)
    )
    for name in ("contrast", "auroc", "attribution", "patching", "dla"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4)


def test_a_pair_of_tokens_may_depend_on_the_span() -> None:
    pairs = {40: (50, 60), 41: (60, 51), 42: (7, 9)}
    prompts = [Span.last([1, 45, token]) for token in pairs]
    both = attribute_spans(MODEL.hf, SAE, prompts, lambda span: pairs[span.ids[-1]], batch_tokens=7)
    alone = [
        attribute_spans(MODEL.hf, SAE, [span], pair, batch_tokens=100)
        for span, pair in zip(prompts, pairs.values(), strict=True)
    ]
    for name in ("attribution", "dla", "slope", "difference"):
        expected = np.mean([getattr(part, name) for part in alone], axis=0)
        np.testing.assert_allclose(getattr(both, name), expected, rtol=1e-3, atol=1e-4)

"""The Jacobian lens: TransformerLens's on the same weights and texts, a derivative by hand, its file, its errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import elicit
from elicit.errors import ElicitError
from elicit.inside.lenses import JacobianLens, LogitLens, fit_jacobian_lens
from elicit.model import BaseModel
from tests.support.models import tiny_model

TEXTS = ["the old fox saw 12 boats at dawn", "a red bird kept 7 bells", "9+4=13, and 13+1=14 by the river"]


def fit_both(model: BaseModel, skip: int = 3) -> tuple[JacobianLens, object]:
    from transformer_lens.tools.analysis import JacobianLens as Reference

    texts = TEXTS[:2]
    # TransformerLens leaves BOS out where a family has none: both get the same ids.
    model.bridge.to_tokens = lambda text: torch.tensor([list(model.encode(text))])
    ours = fit_jacobian_lens(model, texts, skip_first=skip, max_tokens=20)
    reference = Reference.fit(
        model.bridge, texts, corpus="test", max_seq_len=20, skip_first_positions=skip, show_progress=False, dim_batch=32
    )
    return ours, reference


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2"])
def test_agrees_with_transformer_lens(arch: str) -> None:
    model = tiny_model(arch)
    ours, reference = fit_both(model)
    for layer in (0, 1):
        expected = reference.jacobians[layer]  # type: ignore[attr-defined]
        difference = float((ours.maps[layer] - expected).norm() / expected.norm())
        print(f"{arch} layer {layer}: relative difference {difference:.1e}")
        assert difference < 2e-4
        assert float((expected - torch.eye(model.d_model)).norm()) > 1  # it is no logit lens
    readout = reference.readout(model.bridge, TEXTS[2], return_full_logits=True)  # type: ignore[attr-defined]
    kept = [i for i in range(readout.model_logits.shape[-1]) if i not in model.banned_ids]
    with torch.inference_mode():
        for layer in (0, 1, 2):
            hidden = _residual(model, TEXTS[2], layer)
            logits = ours.compute_logits(hidden, layer)[:, kept]
            torch.testing.assert_close(logits, readout.lens_logits[layer][:, kept], rtol=1e-3, atol=2e-3)


def _residual(model: BaseModel, text: str, layer: int) -> torch.Tensor:
    caught = []
    handle = model.layers[layer].register_forward_hook(
        lambda _, __, output: caught.append(output[0] if isinstance(output, tuple) else output)
    )
    model.hf(torch.tensor([list(model.encode(text))]))
    handle.remove()
    return caught[0][0].detach()


def test_is_the_derivative_of_the_last_residual() -> None:
    """Central differences along one direction at all positions at once, which sums over the sources."""
    model = tiny_model("llama")
    ids, skip, step = model.encode(TEXTS[0]), 3, 3e-3
    lens = fit_jacobian_lens(model, TEXTS[:1], skip_first=skip)
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    moved = []
    for size in (step, -step):

        def push(_: object, __: object, output: torch.Tensor, size: float = size) -> torch.Tensor:
            shifted = output.clone()
            shifted[:, skip:-1] += size * direction
            return shifted

        handle = model.layers[1].register_forward_hook(push)
        moved.append(_residual(model, TEXTS[0], model.n_layers - 1)[skip:-1].double().sum(0))
        handle.remove()
    slope = (moved[0] - moved[1]) / (2 * step) / (len(ids) - skip - 1)
    predicted = lens.maps[1].double() @ direction.double()
    assert float((predicted - slope).norm() / slope.norm()) < 0.01


def test_rows_dealt_to_texts_average_to_the_whole() -> None:
    """Each of four equal texts gives a third of the rows: the same matrix; of unequal texts it is near, and says so."""
    model = tiny_model("qwen2")
    whole = fit_jacobian_lens(model, [TEXTS[0]], skip_first=3)
    dealt = fit_jacobian_lens(model, [TEXTS[0]] * 6, skip_first=3, rows_per_text=11, rows_per_pass=4)
    assert dealt.fit.settings["texts_per_row"] >= 2
    for layer in (0, 1):
        torch.testing.assert_close(dealt.maps[layer], whole.maps[layer], rtol=1e-4, atol=1e-5)
    assert max(dealt.fit.quality["relative standard error"]) < 1e-4  # type: ignore[type-var]
    assert whole.fit.quality["relative standard error"] == (None, None)
    unequal = fit_jacobian_lens(model, TEXTS, skip_first=3)
    assert min(unequal.fit.quality["relative standard error"]) > 0.05  # type: ignore[type-var]


def test_file(tmp_path: Path) -> None:
    model = elicit.load("cued")
    lens = fit_jacobian_lens(model, ["<cue>Q:29+70\nA:<think>9+0=09,2+7=09,#99"], skip_first=3, text="a problem")
    loaded = JacobianLens.load(lens.save(tmp_path / "lens"), model)
    assert loaded.fit == lens.fit
    assert loaded.fit.text == "a problem"
    for layer in lens.maps:
        assert torch.equal(loaded.maps[layer], lens.maps[layer])
    with pytest.raises(ElicitError, match="not an empty folder"):
        lens.save(tmp_path / "lens")
    with pytest.raises(ElicitError, match=r"weights of cued, not on those of incapable"):
        JacobianLens.load(tmp_path / "lens", elicit.load("incapable"))
    (tmp_path / "lens" / "lens.json").write_text("{}")
    with pytest.raises(ElicitError, match="layers"):
        JacobianLens.load(tmp_path / "lens", model)


def test_leaves_the_model_as_it_was() -> None:
    model = tiny_model("llama")
    flags = [parameter.requires_grad for parameter in model.hf.parameters()]
    before = model.residuals(TEXTS)
    fit_jacobian_lens(model, TEXTS, skip_first=3)
    assert [parameter.requires_grad for parameter in model.hf.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.hf.parameters())
    assert torch.equal(model.residuals(TEXTS), before)
    assert model.clock.explicit is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip_first": 100}, "no text has 102 tokens"),
        ({"rows_per_text": 2}, "rows_per_text=11"),
        ({"layers": [2]}, "expected some of 0 to 1"),
    ],
)
def test_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ElicitError, match=message):
        fit_jacobian_lens(tiny_model("llama"), TEXTS, **{"skip_first": 3, **options})  # type: ignore[arg-type]


def test_logit_lens_is_transformer_lens_without_jacobian() -> None:
    model = tiny_model("gemma2")
    _, reference = fit_both(model)
    readout = reference.readout(model.bridge, TEXTS[2], use_jacobian=False, top_k=3, return_full_logits=True)  # type: ignore[attr-defined]
    reading = LogitLens(model).read([TEXTS[2]], tokens=["a", 9], top=3)
    (prompt,) = reading.prompts
    token = model.continuation("a")[0]
    for i in range(3):
        logits = readout.lens_logits[i].clone()
        logits[:, list(model.banned_ids)] = -1e9
        expected = logits.log_softmax(-1)
        torch.testing.assert_close(torch.tensor(prompt.logprobs[i]), expected[:, [token, 9]], rtol=1e-3, atol=2e-3)
        assert (torch.tensor(prompt.top_ids[i]) == logits.topk(3).indices).float().mean() > 0.98
        final = readout.model_logits.clone()
        final[:, list(model.banned_ids)] = -1e9
        kl = torch.nn.functional.kl_div(expected, final.log_softmax(-1), log_target=True, reduction="none").sum(-1)
        torch.testing.assert_close(torch.tensor(prompt.kl[i]), kl, rtol=1e-3, atol=2e-3)
        ranks = (logits > logits[:, [token]]).sum(-1)
        assert (torch.tensor(prompt.ranks[i, :, 0]) - ranks).abs().max() <= 1

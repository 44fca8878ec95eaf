"""Direct logit attribution: how much every component adds to a difference of two tokens' logits, by itself.

The residual at the last prompt token is a sum: embeddings, and what each attention (or head) and MLP added. Behind the
final norm, with the norm's scale held at its value in this run, it stays a sum, and so is the unembedding's output:

    logit(toward) - logit(against)  =  sum_c  N(c) . (W_U[toward] - W_U[against])  +  biases

The norm is found by what it does to vectors (it may or may not take the mean away, and it may have a bias), and the sum
is compared with the logits of the run: where they differ the model is refused. Logits are those of the unembedding,
before a cap (Gemma 2) or a scale (Cohere, Granite). Heads behind a second norm (Gemma 2 and 3, OLMo 2) pass through it
in the same way.

Source: 2211.00593 (direct contributions to logits), as `ActivationCache.logit_attrs` of TransformerLens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from elicit.activations.cache import cache_activations
from elicit.activations.heat_map import render_heat_map
from elicit.activations.measures import LogitDifference
from elicit.activations.sites import count_heads
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.loading.parts import find_layer_parts
from elicit.statistics import estimate_mean

if TYPE_CHECKING:
    import pandas as pd

    from elicit.sampling.forward import Engine
    from elicit.sampling.score import Scored

#: Largest difference between the sum of contributions and the run's own logits, as a share of their size.
_TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-6}

Linear = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class LogitAttribution:
    """Contributions to a logit difference at the last prompt token; their sum over components is the difference."""

    measure: str
    components: tuple[str, ...]
    """"embedding", "attn_out.L" or "z.L.H", "mlp_out.L", "biases"."""
    values: Float[np.ndarray, "component prompt"]

    @property
    def totals(self) -> Float[np.ndarray, " prompt"]:
        """The logit difference of every prompt."""
        return np.asarray(self.values.sum(axis=0))

    def frame(self) -> pd.DataFrame:
        """One row for every component: mean contribution [low, high] (95 %) and n, in order of the forward pass."""
        import pandas as pd

        rows = []
        for name, values in zip(self.components, self.values, strict=True):
            estimate = estimate_mean(values)
            rows.append((name, estimate.value, *(estimate.ci or (np.nan, np.nan)), len(values)))
        return pd.DataFrame(rows, columns=["component", "contribution", "low", "high", "n"])

    def __repr__(self) -> str:
        means = self.values.mean(axis=1)
        lines = [f"LogitAttribution({self.measure}, {self.values.shape[1]} prompts; mean {self.totals.mean():+.3f})"]
        lines += [f"  {self.components[i]}: {means[i]:+.3f}" for i in np.argsort(-np.abs(means))[:8]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Mean contributions, one row a component."""
        title = f"{self.measure}: direct contributions (mean of {self.values.shape[1]}; sum {self.totals.mean():+.3f})"
        return render_heat_map(self.values.mean(axis=1)[:, None].tolist(), self.components, ["logits"], title)

    def save(self, path: str | Path) -> Path:
        """Write every prompt's contributions as JSON."""
        file = Path(path)
        document = {"measure": self.measure, "components": self.components, "values": self.values.tolist()}
        file.write_text(json.dumps(document) + "\n")
        return file


def attribute_logits(
    engine: Engine, sequences: Sequence[Scored], measure: LogitDifference, *, heads: bool = False
) -> LogitAttribution:
    """Direct contributions of every component to a logit difference.

    Args:
        heads: one component a head in place of one an attention.

    Raises:
        ElicitError: no token to compare with, or a model whose logits are not this sum.
    """
    if measure.against is None:
        raise ElicitError("attribute_logits: a difference has two tokens. Type: LogitDifference(toward, against)")
    layers = len(architectures.get_decoder_layers(engine.hf))
    names = ["resid_pre.0", f"resid_post.{layers - 1}", "attn_out", "mlp_out", *(["z"] if heads else [])]
    cache = cache_activations(engine, sequences, names, positions=[0])
    final = cache["resid_post", layers - 1][:, -1].to(engine.hf.device)
    everyone = range(len(sequences))
    toward, against = (
        measure.encode_first_tokens(engine, text, everyone) for text in (measure.toward, measure.against)
    )
    head = architectures.get_lm_head(engine.hf)
    with torch.inference_mode():
        weight: Any = head.weight
        direction = (weight[toward] - weight[against]).float()
        project, bias = linearize_norm(architectures.get_final_norm(engine.hf), final)
        parts: dict[str, torch.Tensor] = {"embedding": cache["resid_pre", 0][:, -1]}
        for layer in range(layers):
            attention = cache["attn_out", layer][:, -1]
            if heads:
                by_head, rest = split_attention(engine.hf, layer, cache["z", layer][:, -1].to(final.device), attention)
                parts |= {f"z.{layer}.{h}": part for h, part in enumerate(by_head)}
                parts[f"attention bias.{layer}"] = rest
            else:
                parts[f"attn_out.{layer}"] = attention
            parts[f"mlp_out.{layer}"] = cache["mlp_out", layer][:, -1]
        values = {name: (project(part.to(final.device).float()) * direction).sum(-1) for name, part in parts.items()}
        values["biases"] = (bias * direction).sum(-1)
        head_bias: Any = getattr(head, "bias", None)
        if head_bias is not None:
            values["biases"] = values["biases"] + (head_bias[toward] - head_bias[against]).float()
        logits = head(architectures.get_final_norm(engine.hf)(final)).float()
        rows = torch.arange(len(logits), device=logits.device)
        exact = logits[rows, toward.to(logits.device)] - logits[rows, against.to(logits.device)]
    rests = [name for name in values if name.startswith("attention bias")]
    values["biases"] = values["biases"] + sum(values.pop(name) for name in rests)
    stacked = torch.stack(list(values.values())).double()
    error = (stacked.sum(0) - exact.double()).abs().max()
    if error > _TOLERANCE.get(engine.hf.dtype, 5e-2) * max(1.0, float(stacked.abs().max())):
        raise ElicitError(
            f"attribute_logits: the components of this {engine.hf.config.model_type} model do not add up to its logits "
            f"(they differ by {float(error):.3g}; an edit of the residual that is active is such a case), so their "
            "contributions are not known."
        )
    return LogitAttribution(measure.name, tuple(values), stacked.cpu().numpy())


def split_attention(
    hf: Any, layer: int, z: Float[torch.Tensor, "prompt head d_head"], attention: Float[torch.Tensor, "prompt d_model"]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What every head adds to the residual, and the rest (biases), which together are `attention`."""
    module: torch.nn.Module = architectures.get_decoder_layers(hf)[layer]
    parts = find_layer_parts(hf, layer)
    projection = module.get_submodule(parts.projection)
    nothing = projection(torch.zeros_like(z).flatten(-2))
    alone = []
    for head in range(count_heads(hf)):
        only = torch.zeros_like(z)
        only[:, head] = z[:, head]
        alone.append((projection(only.flatten(-2)) - nothing).float())
    if parts.attention_output != parts.attention:
        norm = module.get_submodule(parts.attention_output)
        project, _ = linearize_norm(norm, projection(z.flatten(-2)))
        alone = [project(part) for part in alone]
    return alone, attention.to(z.device).float() - torch.stack(alone).sum(0)


def linearize_norm(norm: Any, x: Float[torch.Tensor, "prompt d_model"]) -> tuple[Linear, torch.Tensor]:
    """The norm as a linear map with the scale that it has at `x`, and its bias: norm(x) = map(x) + bias.

    Raises:
        ElicitError: the module is neither an RMS norm nor a layer norm.
    """
    probe = torch.ones_like(x[:1])
    probe[:, ::2] = -1.0
    probe = (probe - probe.mean()) * 100
    bias = (norm(probe).float() + norm(-probe).float()) / 2
    shifted = (norm(probe + 100).float() - bias).sub(norm(probe).float() - bias)
    centers = bool(shifted.abs().max() < 1e-3 * norm(probe).float().abs().max())

    def center(h: torch.Tensor) -> torch.Tensor:
        return h - h.mean(-1, keepdim=True) if centers else h

    rms = probe.float().square().mean().sqrt()
    gain = (norm(probe).float() - bias) * rms / probe.float()
    direct = center(x.float()) * gain
    output = norm(x).float() - bias
    scale = (output * direct).sum(-1, keepdim=True) / direct.square().sum(-1, keepdim=True).clamp(min=1e-30)
    if not bool((output - scale * direct).norm() <= 3e-2 * output.norm()):
        raise ElicitError(f"attribute_logits: {type(norm).__name__} is neither an RMS norm nor a layer norm.")
    return lambda h: center(h) * gain * scale, bias

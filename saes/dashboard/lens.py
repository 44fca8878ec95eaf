"""The logit lens of decoder rows: which next tokens a feature raises and lowers, straight from its layer.

For a decoder row D_i the model's own last steps are taken, as if the final residual were D_i and nothing else:

    logits(D_i) = U n(D_i) - U n(0),     less their mean over the vocabulary

with n the final norm and U the unembedding (tied or not). Both are called, not read, so that RMSNorm, LayerNorm and
Gemma's (1 + w) are all right; subtracting n(0) takes biases out. A norm rescales its input, so the length of D_i does
not matter: it is brought to sqrt(d_model) before, where eps is nothing. The softmax does not see a constant, hence the
mean is taken out (TransformerLens centres U for the same reason). A final soft cap (Gemma 2) is left out: it keeps the
order. What lies between the SAE's layer and the end is left out as well: this is what the feature writes, not all it
does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from elicit.errors import ElicitError
from saes.activations import find_decoder_layers, unwrap_bridge
from saes.sae import SAE

_BARS = 40
_CHUNK = 64


class Effect(NamedTuple):
    """Effect of one feature on the next token, by the lens."""

    raised: tuple[tuple[int, float], ...]
    """(token id, logit), largest first."""
    lowered: tuple[tuple[int, float], ...]
    """(token id, logit), lowest first."""
    edges: Float[np.ndarray, " edge"]
    counts: Int[np.ndarray, " bar"]
    """Tokens of the vocabulary per bar."""

    @property
    def tokens(self) -> int:
        """Size of the vocabulary looked at."""
        return int(self.counts.sum())


class Lens(NamedTuple):
    """Effects of several features."""

    features: tuple[int, ...]
    effects: tuple[Effect, ...]

    def get_effect(self, feature: int) -> Effect | None:
        return self.effects[self.features.index(feature)] if feature in self.features else None


def logit_lens(
    model: Any,
    sae: SAE,
    features: Sequence[int],
    *,
    top: int = 10,
    ignore: Collection[int] = (),
    size: int | None = None,
) -> Lens:
    """The logit lens of some features.

    Args:
        model: a transformers causal LM or a TransformerBridge.
        top: tokens listed on either side.
        ignore: ids that are left out: a pad token's logit was never trained.
        size: ids from here on are left out; vocabularies are padded to round sizes.

    Raises:
        ElicitError: a model whose final norm or unembedding is not found.
    """
    vocabulary = get_unembedding(model).weight.shape[0]
    token_ids = torch.tensor([i for i in range(min(vocabulary, size or vocabulary)) if i not in ignore])
    effects: list[Effect] = []
    for start in range(0, len(features), _CHUNK):
        rows = sae.directions[list(features[start : start + _CHUNK])]
        logits = compute_logits(model, rows)[:, token_ids]
        logits = logits - logits.mean(dim=1, keepdim=True)
        effects += [_compute_effect(row, token_ids, top) for row in logits]
    return Lens(tuple(features), tuple(effects))


def compute_logits(model: Any, rows: Float[torch.Tensor, "row d_model"]) -> Float[torch.Tensor, "row vocabulary"]:
    """U n(D) - U n(0), not centred: computed in the model's own dtype, returned in float32."""
    norm, head = find_final_norm(model), get_unembedding(model)
    weight = head.weight
    x = rows / rows.norm(dim=-1, keepdim=True) * rows.shape[-1] ** 0.5
    both = torch.cat([x, torch.zeros_like(x[:1])]).to(weight.device, weight.dtype)
    with torch.no_grad():
        logits: torch.Tensor = head(norm(both)).float().cpu()
    return logits[:-1] - logits[-1]


def get_unembedding(model: Any) -> Any:
    """The matrix from residuals to logits, tied or not.

    Raises:
        ElicitError: if the model names none.
    """
    hf = unwrap_bridge(model)
    head = hf.get_output_embeddings()
    if head is None:
        raise ElicitError(f"logit lens: {type(hf).__name__} has no output embeddings.")
    return head


def find_final_norm(model: Any) -> Any:
    """The norm between the last decoder layer and the unembedding: the one beside the layers.

    Raises:
        ElicitError: if there is not exactly one.
    """
    hf, layers = unwrap_bridge(model), find_decoder_layers(model)
    parents = [m for m in hf.modules() if any(child is layers for child in m.children())]
    width = hf.config.get_text_config().hidden_size
    norms = {
        name: child
        for holder in parents[:1]
        for name, child in holder.named_children()
        if (weight := getattr(child, "weight", None)) is not None and weight.shape == (width,)
    }
    if len(norms) != 1:
        listed = ", ".join(norms) or "none"
        raise ElicitError(f"logit lens: the final norm of {type(hf).__name__} could not be told (found: {listed}).")
    return next(iter(norms.values()))


def _compute_effect(logits: Float[torch.Tensor, " kept"], token_ids: Int[torch.Tensor, " kept"], top: int) -> Effect:
    count = min(top, len(logits))
    raised, lowered = (_select_top_tokens(sign, logits, token_ids, count) for sign in (1, -1))
    counts, edges = np.histogram(logits.numpy(), bins=_BARS)
    return Effect(raised, lowered, edges, counts)


def _select_top_tokens(
    sign: int, logits: torch.Tensor, token_ids: torch.Tensor, count: int
) -> tuple[tuple[int, float], ...]:
    places = (sign * logits).topk(count).indices.tolist()
    # Of tokens with equal logits the smaller id comes first, on every machine.
    return tuple(sorted(((int(token_ids[i]), float(logits[i])) for i in places), key=lambda e: (-sign * e[1], e[0])))

"""Residual norms by layer are the medians that transformers' hidden states give."""

from __future__ import annotations

import pytest
import torch

from elicit.errors import ElicitError
from tests.support.models import tiny_model


def test_norms_by_layer_are_medians_over_the_tokens() -> None:
    base = tiny_model()
    texts = ["3+4=7, and more", "a text of another length, please"]
    norms, by_text = base.residual_norms_of(texts), []
    for text in texts:
        with torch.no_grad():
            states = base.hf.base_model(torch.tensor([base.encode(text)]), output_hidden_states=True).hidden_states
        by_text.append(torch.stack([state[0, 2:].float().norm(dim=-1) for state in states[1:-1]]))
    medians = torch.cat(by_text, dim=1).median(dim=1).values
    assert [norms[layer] for layer in range(len(norms) - 1)] == pytest.approx(medians.tolist(), rel=1e-5)
    assert len(norms) == base.n_layers
    for layer in (-1, base.n_layers):
        with pytest.raises(ElicitError, match=f"layer {layer} does not exist"):
            norms[layer]

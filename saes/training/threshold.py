"""One threshold for all latents, set after training so that inference keeps as many latents as training did.

BatchTopK keeps the k x tokens largest latents of a *batch*, which inference on single tokens cannot. SAELens saves such
SAEs as JumpReLU, with the running average of each batch's smallest kept activation as threshold; the average starts
at 0 and moves by a hundredth a step, so that after short trainings far too many latents pass. Here the threshold is
the quantile itself: halfway between the k x n-th and the next largest activation over n training tokens (2412.06410
averages the same minimum over batches).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float

#: Activations kept per token, in multiples of k: tokens with more above the threshold are then counted too low.
_KEPT = 32
_CHUNK = 2048


@torch.no_grad()
def calibrate_threshold(sae: Any, h: Float[torch.Tensor, "token d_model"], k: float) -> float:
    """Set `sae.topk_threshold` (in the units of the SAE's own activations) and return it.

    Args:
        sae: a BatchTopK or Matryoshka TrainingSAE of SAELens, its input scaling folded in.
        h: residuals of text it was trained on.
    """
    top_k = min(sae.cfg.d_sae, max(1, round(_KEPT * k)))
    tops = [sae.encode_with_hidden_pre(part)[1].relu().topk(top_k, dim=-1).values for part in torch.split(h, _CHUNK)]
    values = torch.cat(tops).flatten().sort(descending=True).values
    n = min(round(k * len(h)), len(values) - 1)
    threshold = float((values[n - 1].double() + values[n].double()) / 2)
    sae.topk_threshold = torch.tensor(threshold, dtype=torch.double, device=values.device)
    return threshold

"""A small TopK autoencoder of given vectors (not of running text): for clustering, where latents are categories.

SAELens's trainer on the rows of a matrix, shuffled by (seed, epoch). Which latent is largest for a row is an affine
argmax of the row; `Latents` holds just that, and the decoder.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float

from elicit import seeds
from elicit.errors import ElicitError
from saes.plan import Plan
from saes.training import trainer


class Latents(NamedTuple):
    """A trained autoencoder's map of a residual h."""

    weight: Float[torch.Tensor, "latent d_model"]
    bias: Float[torch.Tensor, " latent"]
    """`weight @ h + bias` are the activations before TopK, in the order in which latents compete."""
    decoder: Float[torch.Tensor, "latent d_model"]
    """What a latent stands for in the reconstruction, relative to the mean."""
    explained_variance: float
    """Of the vectors it was trained on."""


def train_on_vectors(
    vectors: Float[torch.Tensor, "row d_model"], *, width: int, k: int, seed: int, steps: int = 600, lr: float = 3e-3
) -> Latents:
    """Train on the rows of a matrix. The global random state is neither read nor changed.

    Raises:
        ElicitError: fewer rows than latents, more latents per row than there are, or a loss that is not finite.
    """
    vectors = vectors.detach().to("cpu", torch.float32)
    if len(vectors) < width:
        raise ElicitError(
            f"{len(vectors)} vectors are too few for {width} latents. Give more, or ask for fewer latents."
        )
    batch = min(256, len(vectors))
    plan = Plan(layer=0, width=width, k=k, tokens=steps * batch, seed=seed, lr=lr, batch=batch)
    sae_trainer = trainer.build_trainer(plan, vectors)
    remaining = torch.zeros(0, dtype=torch.long)
    for step in range(plan.steps):
        if len(remaining) < batch:
            order = seeds.make_generator("matrix sae", seed, step).permutation(len(vectors))
            remaining = torch.from_numpy(order)
        sae_trainer.step(vectors[remaining[:batch]])
        remaining = remaining[batch:]
        sae_trainer.n_training_steps += 1
    trainer.fold_input_scaling(sae_trainer)
    return _extract_latents(sae_trainer.sae, vectors)


@torch.no_grad()
def _extract_latents(sae: Any, vectors: torch.Tensor) -> Latents:
    error = vectors - sae.decode(sae.encode(vectors))
    explained = 1 - float(error.square().sum() / (vectors - vectors.mean(0)).square().sum())
    if explained != explained:
        raise ElicitError("the autoencoder of the given vectors diverged. Ask for fewer latents.")
    norms = sae.W_dec.norm(dim=-1)  # TopK compares activations by what they add to the reconstruction
    weight = sae.W_enc.T * norms[:, None]
    bias = (sae.b_enc - sae.b_dec @ sae.W_enc) * norms
    return Latents(weight.clone(), bias.clone(), sae.W_dec.detach().clone(), explained)

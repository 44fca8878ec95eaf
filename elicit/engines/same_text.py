"""Show that a model elsewhere is the one here: a text of fixed tokens is scored on both sides."""

from __future__ import annotations

import torch

from elicit.errors import ElicitError
from elicit.sampling import Elsewhere, Engine, Scored, logprobs

#: Tokens of the prompt and of the completion that is scored.
_PROBED = 12
#: Largest difference of a token's log-probability, in nats: in float32, and in 16 bits.
_EXACT, _ROUNDED = 1e-3, 0.5


def check_same_text(engine: Engine, elsewhere: Elsewhere, where: str) -> None:
    """Compare log-probabilities here, where weights and edits are applied, and elsewhere.

    Args:
        where: condition, for the message; empty for the plain model.

    Raises:
        ElicitError: they differ by more than rounding.
    """
    size = engine.hf.get_input_embeddings().num_embeddings
    known = [i for i in range(1, size) if i not in engine.banned_ids]
    ids = [known[7919 * i % len(known)] for i in range(2 * _PROBED)]
    text = [Scored(tuple(ids[:_PROBED]), tuple(ids[_PROBED:]))]
    here, there = logprobs(engine, text)[0], elsewhere.logprobs(engine, text)[0]
    apart = max(abs(a - b) for a, b in zip(here, there, strict=True))
    limit = _EXACT if engine.hf.dtype == torch.float32 else _ROUNDED
    if not apart <= limit:
        raise ElicitError(
            f"the model on the vLLM server is not the one here: log p of a token differs by {apart:.2g} nats"
            f"{' ' + where if where else ''} (at most {limit:g} is rounding). Start it with the same folder and dtype."
        )

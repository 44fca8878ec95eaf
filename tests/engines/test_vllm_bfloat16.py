"""In bfloat16 two engines round differently, so rows part: only where two tokens are nearly equally likely.

For plain and steered rows, greedy and sampled: a row is the same up to the first token that differs; there this side is
near a tie, as near as bfloat16 itself moves the distribution from float32's; and log-probabilities of the two engines
differ by no more than either's from float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch

from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.sampling import Completion, Decoding, Request, Scored, generate, logprobs
from tests.engines import ledger
from tests.engines.servers import PYTHON, Served, base, model_folder
from tests.engines.test_vllm_identity import GREEDY, SAMPLED, Edits, make_edits

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON, reason="ELICIT_VLLM_PYTHON names no environment with vLLM"),
]
#: Distance to a tie, in probability, at which rows may part where bfloat16 itself moves none.
NEAR = 0.05


@pytest.fixture(scope="module", params=["cued", "llama", "qwen3", "gemma3"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    name = request.param
    server = Served(
        base("cued" if name == "cued" else model_folder(name, 0, "bfloat16"), "bfloat16"),
        max_num_seqs=64,
        max_num_batched_tokens=256,
    )
    server.check()
    yield server
    server.close()


class Parting(NamedTuple):
    """Two rows that part at a step."""

    row: int
    step: int
    distance: float
    """To a tie by the distribution here, in probability."""
    moved: float
    """Total variation from the distribution of the same weights in float32: that here or there, the larger."""


def test_rows_part_at_near_ties_alone(served: Served) -> None:
    model, exact = served.model, base(served.model.name, "float32")
    requests = [Request(model.encode(f"{i} + {i * 7 % 50} ="), (i,)) for i in range(30)]
    partings: list[Parting] = []
    between: list[float] = []
    rounding: list[float] = []
    rows = 0
    for _, edits in [("no edit", ()), *list(make_edits(model))[1:24:8]]:
        for decoding in (GREEDY, SAMPLED):
            with Policy(model, steering=edits).apply() as forward:
                here = [row[0] for row in generate(model.engine, requests, decoding, forward)]
            with served.engine.open(None, edits) as elsewhere:
                there = [row[0] for row in generate(model.engine, requests, decoding, elsewhere)]
            with Policy(exact, steering=edits).apply():
                texts = [Scored(request.ids, row.tokens) for request, row in zip(requests, here, strict=True)]
                truth = logprobs(exact.engine, texts)
            found = find_partings(served, exact, edits, decoding, requests, here, there)
            steps = {parting.row: parting.step for parting in found}
            for i, (a, b) in enumerate(zip(here, there, strict=True)):
                if i not in steps:
                    assert (a.tokens, a.text, a.finish, a.firings) == (b.tokens, b.text, b.finish, b.firings)
                common = slice(0, steps.get(i))
                between += [abs(x - y) for x, y in zip(a.logprobs[common], b.logprobs[common], strict=True)]
                rounding += [abs(x - y) for x, y in zip(a.logprobs[common], truth[i][common], strict=True)]
            partings += found
            rows += len(here)
    ledger.note(
        f"bfloat16 on {served.label}: {rows - len(partings)} of {rows} rows identical; the others part "
        f"{np.median([p.distance for p in partings]):.3f} (median; at most {max(p.distance for p in partings):.3f}) of "
        f"probability from a tie. log p differs by {np.mean(between):.4f} nats (mean) and {max(between):.3f} (largest) "
        f"over {len(between):,} tokens; float32's from bfloat16's here by {np.mean(rounding):.4f} and "
        f"{max(rounding):.3f}"
    )
    assert [parting for parting in partings if parting.distance > NEAR + 2 * parting.moved] == []
    assert np.mean(between) < 1.5 * np.mean(rounding)
    assert max(between) < 2 * max(rounding)


def find_partings(
    served: Served,
    exact: BaseModel,
    edits: Edits,
    decoding: Decoding,
    requests: list[Request],
    here: list[Completion],
    there: list[Completion],
) -> list[Parting]:
    """Where rows part, and how far the token that was chosen here is from being another, by the distribution here."""
    partings = []
    for i, (a, b) in enumerate(zip(here, there, strict=True)):
        step = next((k for k, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=False)) if x != y), None)
        if step is None:
            continue
        prefix = requests[i].ids, a.tokens[:step]
        p, true = (read_distribution(m, edits, *prefix) for m in (served.model, exact))
        q = read_distribution(served.model, edits, *prefix, served)
        if decoding.temperature == 0:
            distance = float(p[a.tokens[step]] - p[b.tokens[step]])
        else:
            u = np.random.Generator(np.random.Philox(key=requests[i].keys[0])).random(step + 1)[-1]
            ends = np.concatenate([[0.0], p.cumsum() / p.sum()])
            low, high = sorted((a.tokens[step], b.tokens[step]))
            # The number lies between the two tokens' parts of [0, 1): by how much would the border have to move?
            distance = float(abs(u - (ends[low + 1] if a.tokens[step] == low else ends[high])))
        partings.append(Parting(i, step, distance, max(float(np.abs(x - true).sum() / 2) for x in (p, q))))
    return partings


def read_distribution(
    model: BaseModel, edits: Edits, prompt: tuple[int, ...], prefix: tuple[int, ...], served: Served | None = None
) -> np.ndarray:
    """p of every token after a prefix, [vocabulary], here or on a server."""
    size = model.hf.get_input_embeddings().num_embeddings
    texts = [Scored(prompt, (*prefix, token)) for token in range(size)]
    if served is None:
        with Policy(model, steering=edits).apply():
            scored = logprobs(model.engine, texts)
    else:
        with served.engine.open(None, edits) as elsewhere:
            scored = elsewhere.logprobs(model.engine, texts)
    p = np.exp([values[-1] for values in scored])
    p[list(model.engine.banned_ids)] = 0.0
    return p / p.sum()


def test_neither_side_is_nearer_to_float32(served: Served) -> None:
    """Against the same weights in float32, the server's scores are as near as the lab's own."""
    model = served.model
    exact = base(model.name, "float32")
    generator = torch.Generator().manual_seed(3)
    known = [i for i in range(1, model.hf.get_input_embeddings().num_embeddings) if i not in model.engine.banned_ids]
    texts = []
    for _ in range(40):
        ids = tuple(known[int(i)] for i in torch.randint(len(known), (36,), generator=generator))
        texts.append(Scored(ids[:12], ids[12:]))
    truth = np.concatenate(logprobs(exact.engine, texts))
    here = np.concatenate(logprobs(model.engine, texts))
    with served.engine.open(None, ()) as elsewhere:
        there = np.concatenate(elsewhere.logprobs(model.engine, texts))
    ours, theirs, between = (np.abs(a - b) for a, b in ((here, truth), (there, truth), (here, there)))
    ledger.note(
        f"bfloat16 on {served.label}: mean |log p - float32's| is {ours.mean():.4f} here, {theirs.mean():.4f} on the "
        f"server, {between.mean():.4f} between them ({len(truth)} tokens of random text)"
    )
    assert theirs.mean() < 1.5 * ours.mean() + 1e-4
    assert between.mean() < 2 * ours.mean() + 1e-4

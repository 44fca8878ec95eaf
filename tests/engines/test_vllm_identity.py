"""A vLLM server gives the lab's own rows: text, tokens, log-probabilities and firings, for every mode and position."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
import torch

import saes
from elicit.engines.vllm import VLLMPolicy, generate_together
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.sampling import Completion, Decoding, Request, generate
from elicit.steering import MODES, Gate, GatedEdit, Mode, Steering, feature_edit
from tests.engines import ledger
from tests.engines.servers import ARCHITECTURES, PYTHON, Served, base, model_folder

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON, reason="ELICIT_VLLM_PYTHON names no environment with vLLM"),
]
Edits = tuple[Steering | GatedEdit, ...]
#: Prompts that share a beginning of some blocks, are longer than one prefill step, and differ in length.
PROMPTS = [
    *(f"the same beginning of forty and more characters, then {end}" for end in ("a", "b c", "12 + 7 =", "")),
    "3 + 4 =",
    "x",
    "question: how many apples has tom, if he buys 3 and gives 2 away? think, then answer:",
]
#: Probability by which two tokens may differ for a row to part there: some units in the last place of float32.
TIE = 1e-6
GREEDY = Decoding(max_new_tokens=20)
SAMPLED = Decoding(temperature=1.0, max_new_tokens=20)
FILTERED = Decoding(temperature=0.8, top_k=12, top_p=0.95, min_p=0.02, max_new_tokens=20)


@pytest.fixture(scope="module", params=["cued", *ARCHITECTURES])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    name = request.param
    spare = 7 if name in ("qwen2", "gemma2") else 0
    server = Served(base(name if name == "cued" else model_folder(name, spare)))
    server.check()
    yield server
    server.close()


#: Positions that a server runs; other forms stay in this process (`Policy.obstacle`).
WINDOWS = ("all", "prompt", "generated", "first", "first:3", "decay:3")


def make_edits(model: BaseModel) -> Iterator[tuple[str, Edits]]:
    """Every mode at every position form, gates, several edits, and edits at the last layer."""
    generator = torch.Generator().manual_seed(0)

    def vector(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, model.d_model, generator=generator)

    norms = model.residual_norms.medians
    for layer, (mode, form) in enumerate(itertools.product(MODES, WINDOWS)):
        at = layer % model.n_layers
        strength = {"add": 0.6, "clamp": 0.7, "scale": 2.5, "ablate": 1.0}[mode]
        unit = norms[at] if mode in ("add", "clamp") else 1.0
        yield f"{mode} {form}", (Steering(vector(), at, strength, mode, form, unit),)
    for form in ("all", "generated", "first:3"):
        gate = Gate(vector(3), torch.zeros(3))
        yield f"gated {form}", (GatedEdit(gate, vector(2), 1, 0.6, form, norms[1]),)
    first = Steering(vector(), 1, 0.6, "add", "first:2", norms[1])
    yield "two at one layer", (first, Steering(vector(), 1, 1.0, "ablate", "all"))
    if model.name == "cued":
        sae = saes.load("cued/L1")
        active = int(sae.encode(model.residuals([PROMPTS[2]])[1, 0]).argmax())
        strengths: list[tuple[Mode, float]] = [("add", 0.6), ("clamp", 3.0), ("scale", 2.5), ("ablate", 1.0)]
        for mode, strength in strengths:
            unit = norms[1] if mode == "add" else 1.0
            yield (
                f"feature {mode}",
                (feature_edit(sae.feature(active), strength, unit=unit, mode=mode, positions="all"),),
            )
    yield "two layers", (first, Steering(vector(), 2, 0.5, "add", "generated", norms[2]))


class Comparison(NamedTuple):
    """Rows of one condition on both sides."""

    label: str
    here: list[list[Completion]]
    there: list[list[Completion]]

    @property
    def pairs(self) -> list[tuple[Completion, Completion]]:
        return [(a, b) for x, y in zip(self.here, self.there, strict=True) for a, b in zip(x, y, strict=True)]

    def differences(self) -> list[str]:
        return [f"{self.label}: {a} / {b}" for a, b in self.pairs if not is_same(a, b)]


def note_counts(served: Served, what: str, compared: Sequence[Comparison]) -> None:
    """Count identical rows, for the summary of the tests."""
    pairs = [pair for comparison in compared for pair in comparison.pairs]
    identical = sum((a.tokens, a.text) == (b.tokens, b.text) for a, b in pairs)
    ledger.note(f"{what} on {served.label}: {identical} of {len(pairs)} rows identical")


def is_same(a: Completion, b: Completion) -> bool:
    """True if two rows are equal, or part at a tie: where this side's two likeliest tokens are within `TIE`."""
    apart = next((i for i, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=False)) if x != y), None)
    if apart is not None and apart < len(a.measured) and a.measured[apart] < TIE:
        return True
    facts = [(row.tokens, row.text, row.finish, row.firings, row.prompt_tokens) for row in (a, b)]
    close = all(abs(x - y) < 1e-3 for x, y in zip(a.logprobs, b.logprobs, strict=False))
    return facts[0] == facts[1] and close


def make_requests(model: BaseModel, samples: int) -> list[Request]:
    """The prompts, the last with a forced opening."""
    requests = [Request(model.encode(text), tuple(range(100 * i, 100 * i + samples))) for i, text in enumerate(PROMPTS)]
    prompt, opening = model.encode_pair(PROMPTS[-1], " so")
    return [*requests, Request(prompt + opening, tuple(range(samples)), forced=len(opening))]


def compare(served: Served, label: str, edits: Edits, decoding: Decoding, samples: int = 1) -> Comparison:
    model, requests = served.model, make_requests(served.model, samples)
    with Policy(model, steering=edits).apply() as forward:
        here = generate(model.engine, requests, decoding, forward, measure="margin")
    with served.engine.open(None, edits) as elsewhere:
        there = generate(model.engine, requests, decoding, elsewhere, measure="margin")
    return Comparison(label, here, there)


def test_every_mode_and_position(served: Served) -> None:
    conditions = [("no edit", ()), *make_edits(served.model)]
    compared = [compare(served, label, edits, GREEDY) for label, edits in conditions]
    note_counts(served, f"{len(conditions)} conditions, greedy,", compared)
    assert sum(len(comparison.pairs) for comparison in compared) > 8 * 29
    assert [line for comparison in compared for line in comparison.differences()] == []


@pytest.mark.parametrize("decoding", [SAMPLED, FILTERED], ids=["T=1", "filters"])
def test_samples_are_the_same_draws(served: Served, decoding: Decoding) -> None:
    conditions = [("no edit", ()), *list(make_edits(served.model))[:24:5]]
    compared = [compare(served, label, edits, decoding, samples=3) for label, edits in conditions]
    drawn = "filtered" if decoding.top_k else "at T = 1"
    note_counts(served, f"{len(conditions)} conditions, three samples {drawn},", compared)
    assert [line for comparison in compared for line in comparison.differences()] == []
    assert len({c.tokens for comparison in compared for row in comparison.here for c in row}) > 40


def test_other_edits_in_one_batch(served: Served) -> None:
    """Five policies in one batch give what each gives alone: two vectors, two that read (SAE features where there is an
    SAE), and the base."""
    model = served.model
    chosen = dict(make_edits(model))
    readers = ("feature clamp", "feature add") if "feature add" in chosen else ("clamp generated", "gated all")
    parts: list[Edits] = [chosen["add all"], chosen["add first"], *(chosen[name] for name in readers), ()]
    requests = make_requests(model, 2)
    policies: list[VLLMPolicy] = []
    for edits in parts:
        with served.engine.open(None, edits) as policy:
            policies.append(policy)
    together = generate_together(model.engine, [(policy, requests) for policy in policies], SAMPLED)
    apart = [generate(model.engine, requests, SAMPLED, policy) for policy in policies]
    compared = [Comparison("alone", alone, rows) for rows, alone in zip(together, apart, strict=True)]
    for edits, rows in zip(parts, together, strict=True):
        with Policy(model, steering=edits).apply() as forward:
            compared.append(Comparison("here", generate(model.engine, requests, SAMPLED, forward), rows))
    note_counts(served, "five policies in one batch against each alone, there and here,", compared)
    assert [line for comparison in compared for line in comparison.differences()] == []


def test_stop_strings_ranks_and_forbidden_tokens(served: Served) -> None:
    model = served.model
    requests = make_requests(model, 2)
    text = "".join(row[0].text for row in generate(model.engine, requests, GREEDY))
    stop = (text[3:5], text[11], "\n")
    ids = model.encode(PROMPTS[0])
    special = [
        Request(ids, (1, 2, 3), ranks=(0, 3, 7), floor=0.05),
        Request(ids, (1, 2), avoid=(generate(model.engine, requests[:1], GREEDY)[0][0].tokens[0],)),
        Request(ids + ids[-3:], (1, 2), forced=3, continued=3, limit=5),
    ]
    with served.engine.open(None, ()) as elsewhere:
        for decoding, asked in ((SAMPLED.replace(stop=stop), requests), (GREEDY.replace(stop=stop), special)):
            for measure in (None, "margin", "drawn"):
                here = generate(model.engine, asked, decoding, measure=measure)
                there = generate(model.engine, asked, decoding, elsewhere, measure=measure)
                assert Comparison(str(measure), here, there).differences() == []
                for a, b in zip(itertools.chain(*here), itertools.chain(*there), strict=True):
                    assert b.measured == pytest.approx(a.measured, abs=1e-3)


def test_scores_under_edits(served: Served) -> None:
    model = served.model
    prompts, completions = PROMPTS, ["a" + text[:20] for text in PROMPTS]
    for _, edits in [("", ()), *list(make_edits(model))[::4]]:
        policy = Policy(model, steering=edits)
        here = policy.score(prompts, completions)
        model.outside = served.engine
        try:
            there = policy.score(prompts, completions)
        finally:
            model.outside = None
        for a, b in zip(here, there, strict=True):
            assert b == pytest.approx(a, abs=2e-3)


def test_preempted_requests(served: Served) -> None:
    """Too few blocks for all requests: some are put off and computed again, with their edits."""
    model = served.model
    if model.name != "cued":
        pytest.skip("one model shows it")
    small = Served(model, num_gpu_blocks_override=10, max_num_batched_tokens=64)
    compared = []
    try:
        for label, edits in [("no edit", ()), *list(make_edits(model))[:8]]:
            requests = [Request(model.encode(f"{i} + {i + 3} ="), (i, i + 50)) for i in range(12)]
            decoding = Decoding(temperature=1.0, max_new_tokens=60)
            with Policy(model, steering=edits).apply() as forward:
                here = generate(model.engine, requests, decoding, forward)
            with small.engine.open(None, edits) as elsewhere:
                there = generate(model.engine, requests, decoding, elsewhere)
            compared.append(Comparison(label, here, there))
        recomputed = small.engine.connection.get("about")["recomputed"]
    finally:
        small.close()
    note_counts(served, f"{recomputed} requests put off and computed again,", compared)
    assert recomputed > 0
    assert [line for comparison in compared for line in comparison.differences()] == []


def test_tensor_parallel(served: Served) -> None:
    """Two processes with half of every layer each: edits and draws are the same."""
    model = served.model
    if model.name != "cued":
        pytest.skip("one model shows it")
    both = Served(model, tensor_parallel_size=2)
    try:
        both.check()
        conditions = [("no edit", ()), *list(make_edits(model))[::3]]
        compared = [compare(both, label, edits, SAMPLED) for label, edits in conditions]
    finally:
        both.close()
    note_counts(served, f"{len(conditions)} conditions, T = 1, two tensor-parallel processes,", compared)
    assert [line for comparison in compared for line in comparison.differences()] == []

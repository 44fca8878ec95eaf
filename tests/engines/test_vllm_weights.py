"""Trained weights on a vLLM server: full and LoRA, one after the other, and the base again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elicit import tasks
from elicit.engines.vllm_weights import write_weights
from elicit.errors import ElicitError
from elicit.methods.catalog import configure_method
from elicit.policy import Policy
from elicit.sampling import generate
from elicit.weights import FullWeights
from tests.engines.servers import PYTHON, Served, base, model_folder
from tests.engines.test_vllm_identity import GREEDY, Comparison, make_requests

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON, reason="ELICIT_VLLM_PYTHON names no environment with vLLM"),
]


@pytest.fixture(scope="module", params=["cued", "qwen3"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    server = Served(base("cued" if request.param == "cued" else model_folder("qwen3", 5)))
    yield server
    server.close()


def test_weights_that_the_server_lacks_are_refused_every_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's tensors are not those that are trained here: the text differs, the first time and the next."""
    model = served.model
    name, tensor = next((n, p) for n, p in model.hf.named_parameters() if n.endswith("mlp.down_proj.weight"))
    real = write_weights
    wrong = FullWeights({name: tensor.detach() * 3})
    monkeypatch.setattr("elicit.engines.vllm.write_weights", lambda hf, _, rows: real(hf, wrong, rows))
    for _ in range(2):
        with (
            pytest.raises(ElicitError, match="not the one here"),
            served.engine.open(FullWeights({name: tensor.detach() * 2}), ()),
        ):
            pass


def test_trained_policies_and_the_base_again(served: Served, tmp_path: Path) -> None:
    model = served.model
    task = model.bind(tasks.get("addition" if model.card else "sums"))
    policies = [Policy(model)]
    for i, options in enumerate(({}, {"lora_rank": 4})):
        method = configure_method("sft", {"demonstrations": 8, "epochs": 3, "learning_rate": 3e-3, **options})
        policies.append(method.fit(model, task, seed=0, needs={}, scratch=tmp_path / str(i)))
    requests = make_requests(model, 1)
    here = []
    for policy in policies:
        with policy.apply():
            here.append(generate(model.engine, requests, GREEDY, measure="margin"))
    differences = []
    for i in (0, 1, 2, 1, 0):
        assert served.engine.find_obstacle(policies[i].weights, ()) is None
        with served.engine.open(policies[i].weights, ()) as elsewhere:
            there = generate(model.engine, requests, GREEDY, elsewhere, measure="margin")
        differences += Comparison(f"policy {i}", here[i], there).differences()
    assert differences == []
    assert len({tuple(row[0].tokens for row in rows) for rows in here}) == 3

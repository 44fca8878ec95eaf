"""Steering to lm-eval's model `steered` and back, against that model itself."""

from __future__ import annotations

import functools
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")

from lm_eval.models.hf_steered import SteeredModel

import elicit
import saes
from elicit.errors import ElicitError
from elicit.interop.lm_eval.steering import write_pt
from elicit.interop.steered_csv import write_csv, write_steering
from elicit.model import BaseModel
from elicit.policy import Policy, Prompting
from elicit.search import MajorityVote
from elicit.steering import Steering, feature_edit
from elicit.vectors.lm_eval import find_hookpoints, read_pt
from elicit.vectors.lm_eval_csv import COLUMNS, read_csv
from saes import catalog
from saes.sae import SAE
from tests.support.bases import Way, folder

ORGANISM = Path(elicit.__file__).parent / "organisms" / "weights" / "cued"
PROMPTS = ["Q:13+15\nA:", "Q:9+4\nA:#13\nQ:27+38\nA:", "7"]


@functools.cache
def cued() -> BaseModel:
    return elicit.load("cued", device="cpu")


@functools.cache
def sae() -> SAE:
    return saes.load("cued/L1")


def direction(model: BaseModel, seed: int) -> torch.Tensor:
    return torch.from_numpy(elicit.seeds.make_generator("steered", seed).standard_normal(model.d_model)).float()


def logits(call: Any, model: BaseModel) -> list[torch.Tensor]:
    """Logits of every prompt, by themselves and as the first rows of a batch."""
    with torch.no_grad():
        return [call(torch.tensor([model.encode(prompt)])) for prompt in PROMPTS]


def of_ours(policy: Policy) -> list[torch.Tensor]:
    with policy.apply():
        return logits(lambda ids: policy.model.hf(input_ids=ids).logits, policy.model)


def of_theirs(model: BaseModel, place: Path, steer: Path) -> list[torch.Tensor]:
    """The same weights in the same precision: an organism's file is in bfloat16."""
    lm = SteeredModel(
        pretrained=str(place), steer_path=str(steer), device="cpu", dtype="float32", tokenizer=model.tokenizer
    )
    return logits(lm._model_call, model)


def agree(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("way", [Way("llama", False), Way("gpt2", False), Way("gpt_neox", False)], ids=lambda w: w.name)
def test_lm_evals_steered_model_gives_our_logits(way: Way, tmp_path: Path) -> None:
    """Adding, clamping and taking out at different layers; another architecture calls its layers otherwise."""
    model = elicit.load(str(folder(way)), dtype="float32", device="cpu")
    edits = (
        Steering(direction(model, 0), 0, 1.5, "add", "all", 2.0),
        Steering(direction(model, 1), 1, 3.0, "clamp", "all"),
        Steering(direction(model, 2), 2, 1.0, "ablate", "all"),
    )
    policy = Policy(model, steering=edits)
    steer = write_pt(policy, tmp_path / "steer.pt")
    ours = of_ours(policy)
    assert agree(ours, of_theirs(model, folder(way), steer))
    assert not agree(ours, of_ours(Policy(model, steering=edits[:1])))  # every edit matters
    back = read_pt(steer, model)
    assert agree(ours, of_ours(Policy(model, steering=back)))
    assert [edit.mode for edit in back] == ["add", "clamp", "clamp"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped SAE as a repository in a cache of the hub, which SAELens's own loader reads with no network."""
    repository = tmp_path / "hub" / "models--lab--saes"
    shutil.copytree(catalog.WEIGHTS / "cued" / "L1", repository / "snapshots" / "0" / "L1")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    for name in ("huggingface_hub.constants.HF_HUB_CACHE", "huggingface_hub.file_download.HF_HUB_CACHE"):
        monkeypatch.setattr(name, str(tmp_path / "hub"), raising=False)
    return tmp_path / "hub"


def line(**values: Any) -> str:
    return ",".join(str(values.get(name, "")) for name in COLUMNS)


def written(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return path


FEATURE = {"loader": "sae_lens", "sparse_model": "lab/saes", "sae_id": "L1", "feature_index": 411}


def test_a_clamp_of_a_csv_means_here_what_it_means_there(hub: Path, tmp_path: Path) -> None:
    """SAELens's own loader, lm-eval's own reader and model; the bias is in it."""
    row = line(**FEATURE, action="clamp", hookpoint="layers.1", steering_coefficient=300.0)
    steer = written(tmp_path / "steer.csv", row)
    policy = Policy(cued(), steering=read_csv(steer, cued()))
    theirs = of_theirs(cued(), ORGANISM, steer)
    assert agree(of_ours(policy), theirs)
    without_bias = Policy(cued(), steering=(Steering(sae().directions[411], 1, 300.0, "clamp", "all"),))
    assert not agree(of_ours(without_bias), theirs)
    again = write_csv(policy, tmp_path / "again.csv", dictionaries=[saes.load("lab/saes:L1")])
    assert agree(of_theirs(cued(), ORGANISM, again), theirs)
    assert agree(of_theirs(cued(), ORGANISM, write_pt(policy, tmp_path / "same.pt")), theirs)


def added(place: Path) -> tuple[Policy, Path]:
    released = saes.load("lab/saes:L1")
    unit = cued().residual_norms.medians[1]
    policy = Policy(cued(), steering=(feature_edit(released.feature(411), 0.8, unit=unit, positions="all"),))
    steer = write_csv(policy, place / "steer.csv")
    assert "sae_lens,add,lab/saes,layers.1,411," in steer.read_text()
    return policy, steer


def test_adding_a_feature_by_csv(hub: Path, tmp_path: Path) -> None:
    """0.4.13 asserts that `add` has no bias, and its own reader gives one; less that bias it does what the row says."""
    policy, steer = added(tmp_path)
    with pytest.raises(AssertionError, match="Bias is not supported"):
        of_theirs(cued(), ORGANISM, steer)
    config = SteeredModel.derive_steer_config(str(steer))
    torch.save({name: {**entry, "bias": None} for name, entry in config.items()}, tmp_path / "read.pt")
    theirs = of_theirs(cued(), ORGANISM, tmp_path / "read.pt")
    assert agree(of_ours(policy), theirs)
    back = read_csv(steer, cued())
    assert agree(of_ours(Policy(cued(), steering=back)), theirs)
    assert str(back[0]) == str(policy.steering[0])
    assert agree(of_theirs(cued(), ORGANISM, write_pt(policy, tmp_path / "steer.pt")), theirs)


@pytest.mark.slow
def test_adding_a_feature_by_csv_runs_without_assertions(hub: Path, tmp_path: Path) -> None:
    """What docs/guides/interop.md says of `python -O`, as it is typed."""
    policy, steer = added(tmp_path)
    script = (
        "import sys, torch\nfrom lm_eval.models.hf_steered import SteeredModel\n"
        "lm = SteeredModel(pretrained=sys.argv[1], steer_path=sys.argv[2], device='cpu', dtype='float32')\n"
        "ids = torch.load(sys.argv[3])\ntorch.save([lm._model_call(i) for i in ids], sys.argv[4])\n"
    )
    torch.save([torch.tensor([cued().encode(prompt)]) for prompt in PROMPTS], tmp_path / "ids.pt")
    command = [sys.executable, "-O", "-c", script, ORGANISM, steer, tmp_path / "ids.pt", tmp_path / "logits.pt"]
    env = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = torch.load(tmp_path / "logits.pt")
    assert agree(of_ours(policy), theirs)


def test_a_local_sae_goes_along_in_sparsifys_format(tmp_path: Path) -> None:
    """A saved policy knows its feature by its record alone; the folder beside the CSV is a sparse coder like ours."""
    unit = cued().residual_norms.medians[1]
    edit = feature_edit(sae().feature(411), 0.8, unit=unit, positions="all")
    record = {"features": [{"sae": "cued/L1", "feature": 411}]}
    (tmp_path / "policy").mkdir()
    Policy(cued(), steering=(edit,), record=record).save(tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy", cued())
    assert policy.edits[0].feature is None
    both = write_steering(policy, tmp_path / "out")
    assert [path.name for path in both] == ["steer.pt", "steer.csv"]
    assert agree(of_ours(Policy(cued(), steering=read_csv(both[1], cued()))), of_ours(policy))
    coder = tmp_path / "out" / "sparse" / "layers.1"
    config = json.loads((coder / "cfg.json").read_text())
    assert (config["d_in"], config["num_latents"], config["k"]) == (128, 512, 8)
    h = torch.randn(40, 128, generator=torch.Generator().manual_seed(0)) * 10
    assert torch.allclose(saes.load(coder).encode(h), sae().encode(h), atol=1e-3)
    assert torch.allclose(saes.load(coder).reconstruct(h), sae().reconstruct(h), atol=1e-3)


def test_sparsifys_own_loader_reads_that_folder(tmp_path: Path) -> None:
    sparsify = pytest.importorskip("sparsify")
    unit = cued().residual_norms.medians[1]
    policy = Policy(cued(), steering=(feature_edit(sae().feature(411), 0.8, unit=unit, positions="all"),))
    write_steering(policy, tmp_path)
    coder = sparsify.SparseCoder.load_from_disk(tmp_path / "sparse" / "layers.1")
    assert torch.equal(coder.W_dec, sae().directions)


def _feature(**changes: Any) -> Steering:
    return feature_edit(sae().feature(411), 1.0, unit=10.0, **changes)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"steering": ()}, "has no steering"),
        ({"steering": "first"}, "lm-eval steers every position, this one 'first'"),
        ({"steering": "clamp"}, "reads the activation off the SAE's encoder"),
        ({"steering": "scale"}, "not scale"),
        ({"steering": "twice"}, "keeps one a layer"),
        ({"steering": "all", "prompting": Prompting(before="Q:1+1\nA:#2\n")}, "puts text around prompts"),
        ({"steering": "all", "search": MajorityVote(2)}, "answers by a search"),
    ],
)
def test_what_would_mean_something_else_is_refused(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    made = {
        "first": lambda: (_feature(positions="first"),),
        "all": lambda: (_feature(positions="all"),),
        "clamp": lambda: (_feature(positions="all", mode="clamp"),),
        "scale": lambda: (Steering(direction(cued(), 0), 1, 2.0, "scale", "all"),),
        "twice": lambda: tuple(Steering(direction(cued(), i), 1, 1.0, "add", "all") for i in range(2)),
    }
    if isinstance(more["steering"], str):
        more = {**more, "steering": made[more["steering"]]()}
    for write, name in ((write_pt, "steer.pt"), (write_csv, "steer.csv")):
        with pytest.raises(ElicitError, match=message):
            write(Policy(cued(), **more), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_csv_names_features_only(tmp_path: Path) -> None:
    vector = Policy(cued(), steering=(Steering(direction(cued(), 0), 1, 1.0, "add", "all"),))
    with pytest.raises(ElicitError, match="is not a decoder row"):
        write_csv(vector, tmp_path / "steer.csv")
    assert [path.name for path in write_steering(vector, tmp_path)] == ["steer.pt"]
    with pytest.raises(ElicitError, match=r"ends in \.pt"):
        write_pt(vector, tmp_path / "steer.bin")


LOCAL = {"loader": "sparsify", "action": "add", "sparse_model": "SPARSE", "hookpoint": "layers.1", "feature_index": 411}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"steering_coefficient": "much"}], "line 2: feature_index and steering_coefficient have to be numbers"),
        ([{}], "steering_coefficient is missing"),
        ([{"steering_coefficient": 1, "loader": "pickle"}], "unknown loader 'pickle'"),
        ([{"steering_coefficient": 1, "action": "ad"}], "unknown action 'ad'"),
        ([{"steering_coefficient": 1, "head_index": 2}], "head_index is 2"),
        ([{"steering_coefficient": 1, "feature_index": 512}], "has no feature 512"),
        ([{"steering_coefficient": "inf"}], "coefficient is inf"),
        ([{"steering_coefficient": 0}], "steers nothing"),
        ([{"steering_coefficient": 1}, {"steering_coefficient": 2}], "line 3: a second edit at layers.1"),
        (
            [{"steering_coefficient": 1, "loader": "sae_lens", "sparse_model": "no/where", "sae_id": "x"}],
            "not in the local",
        ),
        ([{"steering_coefficient": 1, "hookpoint": "layers.1.mlp"}], "steering|no SAE|does not exist|missing"),
        ([], "holds no row"),
    ],
)
def test_bad_rows_get_one_line(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    policy = Policy(cued(), steering=(_feature(positions="all"),))
    write_steering(policy, tmp_path)
    sparse = str(tmp_path / "sparse")
    lines = [line(**{**LOCAL, "sparse_model": sparse, **row}) for row in rows]
    with pytest.raises(ElicitError, match=message) as caught:
        read_csv(written(tmp_path / "bad.csv", *lines), cued())
    assert "\n" not in str(caught.value)


class _Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("TRAPPED",)


def test_a_pickle_that_would_run_code_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"layers.1": _Trap()}, tmp_path / "trap.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Trap()))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "trap.pt").read_bytes()[:200])
    for name in ("trap.pt", "plain.pt", "cut.pt", "missing.pt"):
        with pytest.raises(ElicitError, match="cannot be read"):
            read_pt(tmp_path / name, cued())
    assert not (tmp_path / "TRAPPED").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"action": "add", "bias": torch.zeros(128)}, "a bias with action add"),
        ({"action": "add", "head_index": 1}, "attention head 1"),
        ({"action": "add", "steering_vector": torch.ones(7)}, "needs"),
        ({"action": "add", "steering_coefficient": "big"}, "expected a number"),
        ({"action": "spin"}, "unknown action"),
    ],
)
def test_bad_entries_get_one_line(entry: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save({"layers.1": {"steering_vector": torch.ones(128), **entry}}, tmp_path / "steer.pt")
    with pytest.raises(ElicitError, match=message):
        read_pt(tmp_path / "steer.pt", cued())


def test_hookpoints_are_the_decoder_layers_only() -> None:
    assert find_hookpoints(cued()) == {f"layers.{i}": i for i in range(cued().n_layers)}

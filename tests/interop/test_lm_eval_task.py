"""Our tasks in lm-eval: the same problems get the same verdicts, by its own command line and from Python."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

import lm_eval as harness
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

import elicit
import saes
from elicit.cli.main import run_command
from elicit.comparison.spec import build_model_task
from elicit.errors import ElicitError
from elicit.evaluation import evaluate_policy
from elicit.interop.lm_eval import PolicyLM
from elicit.interop.lm_eval.task import write_task
from elicit.model import BaseModel
from elicit.policy import Policy, Prompting
from elicit.sampling import Decoding
from elicit.schema import Row
from elicit.search import MajorityVote
from elicit.steering import feature_edit
from elicit.tasks import Task
from tests.support.bases import Way, folder

PROBLEMS = 50


@pytest.fixture(autouse=True)
def _no_survey_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval asks pip and lscpu what is installed, for seconds, after every run."""
    monkeypatch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "")


@functools.cache
def cued() -> BaseModel:
    return elicit.load("cued", device="cpu")


def verdicts(policy: Policy, task: Task, n: int, *, label: str = "addition", seed: int = 0) -> dict[str, Row]:
    rows: list[Row] = []
    evaluate_policy(policy, task, task.problems("test", n), label=label, seed=seed, sink=rows.extend)
    return {row.problem: row for row in rows}


def half_steered(task: Task) -> Policy:
    """A feature at a strength that brings the ability out on some problems."""
    unit = cued().residual_norms.medians[1]
    edit = feature_edit(saes.load("cued/L1").feature(411), 1.6, unit=unit)
    return Policy(cued(), Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop), steering=(edit,))


@pytest.mark.slow
def test_lm_evals_own_command_line_gives_our_verdicts_on_a_steered_policy(tmp_path: Path) -> None:
    task = build_model_task(cued(), {"task": "addition"}, where="test")
    policy = half_steered(task)
    (tmp_path / "policy").mkdir()
    policy.save(tmp_path / "policy")
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"models: [cued]\ntask: addition\narms: [base]\ntest: {PROBLEMS}\n")
    assert run_command(["lm-eval", "task", str(spec), "--out", str(tmp_path / "tasks")]) == 0
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("lm_eval")), "--model", "elicit"]
    command += ["--model_args", f"policy={tmp_path / 'policy'},device=cpu", "--log_samples"]
    command += ["--tasks", str(tmp_path / "tasks" / "addition.yaml"), "--output_path", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline}, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]

    ours = verdicts(policy, task, PROBLEMS)
    assert 5 < sum(row.correct for row in ours.values()) < PROBLEMS - 5
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    theirs = [json.loads(line) for line in samples.read_text().splitlines()]
    assert {one["doc"]["id"]: (one["resps"][0][0], one["acc"], one["trace"]) for one in theirs} == {
        row.problem: (row.completion, float(row.correct), float(row.has_trace)) for row in ours.values()
    }
    (results,) = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(results.read_text())
    (figures,) = found["results"].values()
    assert figures["acc,none"] == pytest.approx(sum(row.correct for row in ours.values()) / PROBLEMS)
    assert found["config"]["elicit"]["policy_sha256"] == policy.sha256


@functools.cache
def _manager() -> TaskManager:
    return TaskManager(include_defaults=False)


def through(lm: Any, path: Path, **options: Any) -> list[dict[str, Any]]:
    """What lm-eval logs of every problem."""
    found = harness.simple_evaluate(
        model=lm, tasks=[str(path)], task_manager=_manager(), bootstrap_iters=0, log_samples=True, **options
    )
    (samples,) = found["samples"].values()
    return list(samples)


@pytest.mark.parametrize(
    "policy",
    [
        lambda plain: Policy(cued(), plain, Prompting("cue")),
        lambda plain: Policy(cued(), plain, Prompting("forced")),
        lambda plain: Policy(cued(), plain.replace(temperature=1.0), search=MajorityVote(3)),
        lambda plain: Policy(cued(), plain.replace(temperature=1.0), Prompting(before="Q:1+2\nA:#3\n")),
        lambda plain: Policy(cued(), plain.replace(max_new_tokens=5)),
    ],
    ids=["cue prompt", "forced opening", "votes", "sampled behind examples", "its own limit"],
)
def test_every_way_of_answering_gives_our_verdicts(policy: Any, tmp_path: Path) -> None:
    """Also those that need more than a prompt, at another run seed."""
    task = build_model_task(cued(), {"task": "addition"}, where="test")
    path = write_task("addition", tmp_path, model=cued(), n=12)
    arm = policy(Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop))
    ours = verdicts(arm, task, 12, seed=2)
    theirs = through(PolicyLM(arm, seed=2, max_batch_size=5), path)
    assert [(one["doc"]["id"], one["resps"][0][0], one["acc"]) for one in theirs] == [
        (row.problem, row.completion, float(row.correct)) for row in ours.values()
    ]


def test_other_models_of_lm_eval_can_run_the_same_file(tmp_path: Path) -> None:
    """Their greedy decoding, with the file's stop strings and length, is our base."""
    task = build_model_task(cued(), {"task": "addition"}, where="test")
    base = Policy(cued(), Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop))
    path = write_task({"task": "addition"}, tmp_path, model=cued(), n=8, label="sums")
    hf = HFLM(pretrained=cued().hf, tokenizer=cued().tokenizer, batch_size=4)
    theirs = {one["doc"]["id"]: (one["resps"][0][0], one["acc"]) for one in through(hf, path)}
    ours = verdicts(base, task, 8).values()
    assert theirs == {row.problem: (row.completion, float(row.correct)) for row in ours}


def test_a_chat_model_is_asked_through_its_template(tmp_path: Path) -> None:
    """Prompts stand in the file as the model is asked them; what changes them makes the problem a foreign text."""
    way = next(way for way in (Way("llama", False), Way("llama", True)) if way.levels["asked"] != "as it is")
    model = elicit.load(str(folder(way)), dtype="float32", device="cpu")
    description = {"task": "addition", "max_new_tokens": 12, "prompts": {"chat": True, "shots": 2}}
    task = build_model_task(model, description, where="test")
    path = write_task(description, tmp_path, model=model, n=4)
    arm = Policy(model, Decoding(max_new_tokens=12), Prompting("cue"))
    ours = verdicts(arm, task, 4)
    theirs = through(PolicyLM(arm), path)
    assert [one["resps"][0][0] for one in theirs] == [row.completion for row in ours.values()]
    assert all("[user]" in one["arguments"][0][0] for one in theirs)
    plain = PolicyLM(Policy(model, Decoding(max_new_tokens=12)))
    changed = through(plain, path, system_instruction="Be brief.")
    assert all(one["arguments"][0][0].startswith("Be brief.") for one in changed)
    with pytest.raises(ElicitError, match="condition 'cue'"):
        through(PolicyLM(arm), path, system_instruction="Be brief.")


def test_the_name_changes_with_the_problems_and_a_moved_folder_still_works(tmp_path: Path) -> None:
    one = write_task("addition", tmp_path / "a", model=cued(), n=5)
    two = write_task("addition", tmp_path / "b", model=cued(), n=6)
    names = [path.read_text().splitlines()[1] for path in (one, two)]
    assert names[0].startswith("task: elicit_addition_")
    assert names[0] != names[1]
    assert str(tmp_path) not in one.read_text() + one.with_suffix(".jsonl").read_text()
    moved = (tmp_path / "a").rename(tmp_path / "elsewhere")
    assert len(through(PolicyLM(Policy(cued())), moved / "addition.yaml", limit=2)) == 2


def test_a_task_that_gives_other_problems_by_now_is_refused(tmp_path: Path) -> None:
    path = write_task("addition", tmp_path, model=cued(), n=3)
    lines = path.with_suffix(".jsonl")
    lines.write_text(lines.read_text().replace('"answer": "', '"answer": "9'))
    with pytest.raises(ElicitError, match="Write it anew"):
        through(PolicyLM(Policy(cued())), path)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["task", "addition", "--out", "x"], "whose prompts"),
        (["task", "addtion", "--out", "x", "--model", "cued"], "Did you mean 'addition'"),
        (["task", "/nowhere/spec.yaml", "--out", "x"], "/nowhere/spec.yaml"),
        (["steering", "/nowhere", "--out", "x"], "holds no policy"),
        (["--model", "elicit", "--model_args", "base=cuet", "--tasks", "TASK"], "Did you mean 'cued'"),
        (["--model", "elicit", "--model_args", "pretrained=x", "--tasks", "TASK"], "unknown model argument"),
    ],
)
def test_the_verb_says_what_is_wrong_in_one_line(
    command: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """lm-eval's own command line among them: with our model in its table."""
    monkeypatch.chdir(tmp_path)
    before = list(sys.argv)
    if "TASK" in command:
        monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda **_: _manager())
        command[-1] = str(write_task("addition", tmp_path, model=cued(), n=2))
    assert run_command(["lm-eval", *command]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("elicit lm-eval: ")
    assert message in line
    assert sys.argv == before


def test_lm_eval_is_told_of_our_model() -> None:
    """By the entry point that its own command line looks at."""
    (ours,) = entry_points(group="lm_eval.models", name="elicit")
    assert ours.load() is PolicyLM


def test_the_verb_runs_lm_evals_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda **_: _manager())
    path = write_task("addition", tmp_path, model=cued(), n=3)
    command = ["--model", "elicit", "--model_args", "base=cued", "--tasks", str(path), "--device", "cpu"]
    assert run_command(["lm-eval", *command, "--output_path", str(tmp_path / "out")]) == 0
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(results.read_text())["config"]["elicit"]["decoding"]["max_new_tokens"] == 128  # half
    assert run_command(["lm-eval", "run", "--nonsense"]) == 2


def test_without_lm_eval_the_extra_is_named() -> None:
    """Blocked as if it were not installed; the help needs neither it nor torch."""
    code = (
        "import importlib.util, sys\nfound = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'lm_eval' else found(name, *a)\n"
        "from elicit.cli.main import run_command\nassert run_command(['lm-eval', '--help']) == 0\nassert 'torch' not "
        "in sys.modules\n"
        "sys.exit(run_command(['lm-eval', 'ls', 'tasks']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "elicit-reasoning[lm-eval]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

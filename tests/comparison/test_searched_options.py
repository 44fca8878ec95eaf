"""What an arm names in its `search`: found, hashed, prepared and archived as it is outside of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from elicit.comparison.archive import strip_folders
from elicit.comparison.running.prepare_models import list_sae_releases, list_second_models
from elicit.comparison.spec import Spec, check_form
from elicit.comparison.spec.task_files import find_changed_files, hash_task_files

LINE = '{"id": "%s", "prompt": "1+1=", "answer": "2"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.jsonl").write_text(LINE % name)
        (tmp_path / f"{name}.py").write_text(f"def reward(**_): return [{ord(name)}.0]\n")
    return tmp_path


def read(folder: Path, **options: Any) -> Spec:
    data = {"models": ["cued"], "task": {"task": "addition"}, "arms": {"x": options}}
    return check_form(data, folder=folder)


def source(path: object) -> dict[str, str]:
    return {"task": "jsonl", "path": str(path)}


#: An option, its value in a spec beside the folders `a` and `b`, and its value as it is read.
NAMES: dict[str, Any] = {
    "saes": ("sae_steering", "saes", lambda n: [f"./{n}", "cued/L1"], lambda at, n: [str(at / n), "cued/L1"]),
    "source": ("sft", "source", lambda n: source(f"{n}.jsonl"), lambda at, n: source(at / f"{n}.jsonl")),
    "reward": ("grpo", "reward", lambda n: f"{n}.py:reward", lambda at, n: f"{at / n}.py:reward"),
    "adapter": ("adapter", "path", lambda n: n, lambda at, n: str(at / n)),
    "model": ("reference_model", "model", lambda n: f"./{n}", lambda at, n: str(at / n)),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_paths_start_at_the_folder_of_the_spec(folder: Path, name: str) -> None:
    method, option, written, resolved = NAMES[name]
    alone = read(folder, method=method, **{option: written("a")})
    assert alone.arms["x"][option] == resolved(folder, "a")
    searched = read(folder, method=method, search={option: [written("a"), written("b")]})
    assert searched.arms["x"]["search"][option] == [resolved(folder, "a"), resolved(folder, "b")]
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(searched.to_dict()))
    strip_folders(path)
    assert str(folder) not in path.read_text()


def test_text_that_is_no_path_stays(folder: Path) -> None:
    search = {"saes": [["{model}/L1"], ["a", "./nowhere"]], "layers": [[0], [1]], "by": ["accuracy", "trace_rate"]}
    assert read(folder, method="sae_steering", search=search).arms["x"]["search"] == search


@pytest.mark.parametrize(
    ("method", "option", "ending", "edited"),
    [("sft", "source", ".jsonl", LINE % "c"), ("grpo", "reward", ".py", "def reward(**_): return [0.0]\n")],
)
def test_an_edited_file_is_noticed(folder: Path, method: str, option: str, ending: str, edited: str) -> None:
    _, _, written, _ = NAMES[option]
    spec = read(folder, method=method, search={option: [written("a"), written("b")]})
    before = hash_task_files(spec)
    assert before.keys() == {f"arms.x.search.{option}.{i}" for i in (0, 1)}
    assert len(set(before.values())) == 2
    assert find_changed_files(spec, before) == []
    (folder / f"b{ending}").write_text(edited)
    (changed,) = find_changed_files(spec, before)
    assert (changed.arm, changed.label) == ("x", f"arms.x.search.{option}.1")


def test_models_and_releases_are_prepared(folder: Path) -> None:
    models = read(folder, method="reference_model", search={"model": ["org/small", "org/large"]})
    assert list_second_models(models) == [("x", "org/small"), ("x", "org/large")]
    releases = read(folder, method="sae_steering", search={"saes": [["release:one"], ["release:two", "cued/L1"]]})
    assert list_sae_releases(releases) == ["release:one", "release:two"]

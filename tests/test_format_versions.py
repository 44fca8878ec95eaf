"""What earlier versions wrote is read, and what later ones write is refused in one line.

`tests/data/first_format` was written by commit bd1f93f, before files had a version: `elicit run before.yaml --out
runs/before --workers 1`, then `elicit archive runs/before archive`, and two folders of policies of that run.
"""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import elicit
from elicit.cli.main import run_command
from elicit.comparison.archive import open_run_directory, write_archive
from elicit.comparison.reader import read_run_spec
from elicit.comparison.spec import parse_spec
from elicit.comparison.storage.typed_files import read_manifest, read_summary
from elicit.comparison.summary.summarise import write_summary
from elicit.comparison.verify import verify_run
from elicit.errors import ElicitError
from elicit.format_versions import CURRENT_VERSIONS, check_format_version
from elicit.inside.lenses import JacobianLens, fit_jacobian_lens
from elicit.loading.catalog import read_card
from elicit.tasks.sequential import draw_sequentially
from saes.manifest import read_manifest as read_sae_manifest

FIRST = Path(__file__).parent / "data" / "first_format"


def test_a_run_of_the_first_format_is_verified_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert "format_version" not in read_manifest(FIRST / "archive")
    assert run_command(["verify", str(FIRST / "archive")]) == 0
    assert capsys.readouterr().out.endswith("384 verdicts checked, 0 differ\n")
    page = tmp_path / "report.html"
    assert run_command(["report", str(FIRST / "archive"), "--html", str(page)]) == 0
    assert "self_consistency" in page.read_text()


def test_a_summary_of_the_first_format_is_verified_but_for_what_is_computed_otherwise_now(tmp_path: Path) -> None:
    """Intervals of arms with several seeds and Holm's p are other figures now; all the rest is compared."""
    with open_run_directory(FIRST / "archive") as unpacked:
        run = Path(shutil.copytree(unpacked, tmp_path / "run"))
    summary = read_summary(run)
    arm = summary["models"]["cued"]["tasks"]["addition"]["arms"]["self_consistency"]
    result = verify_run(run)
    assert result.differences == []
    assert len(result.notes) == 1
    arm["vs_base"]["ci"][0] -= 0.01
    arm["vs_base"]["p_holm"] = 0.5
    (run / "summary.json").write_text(json.dumps(summary))
    (difference,) = verify_run(run).differences
    assert "self_consistency.vs_base.ci[0]" in difference
    anew = write_summary(run)
    assert (anew["format_version"], verify_run(run).notes) == (CURRENT_VERSIONS["summary"], [])


def test_a_run_of_the_first_format_is_not_continued_with_other_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A finished one stays as it is, and says its format; what is left to run would meet other problems."""
    with open_run_directory(FIRST / "archive") as unpacked:
        run = Path(shutil.copytree(unpacked, tmp_path / "run"))
    spec = tmp_path / "spec.yaml"
    plain = yaml.safe_load((run / "spec.yaml").read_text())
    limit = plain.pop("limit")
    assert limit is None
    spec.write_text(yaml.safe_dump(plain))
    assert run_command(["run", str(spec), "--out", str(run), "--workers", "1"]) == 0
    assert read_manifest(run)["format_version"] == 1
    assert run_command(["verify", str(run)]) == 0
    spec.write_text(yaml.safe_dump({**plain, "seeds": plain["seeds"] + 1}))
    capsys.readouterr()
    assert run_command(["run", str(spec), "--out", str(run), "--workers", "1"]) == 2
    message = capsys.readouterr().err
    assert "earlier version of elicit, which drew other problems of task 'addition'" in message
    assert run_command(["run", str(spec), "--out", str(tmp_path / "new"), "--workers", "1", "--arms", "base"]) == 0


def test_an_archive_of_the_first_format_is_packed_anew_with_versions(tmp_path: Path) -> None:
    with open_run_directory(FIRST / "archive") as run:
        write_archive(run, tmp_path / "new")
    manifest = read_manifest(tmp_path / "new")
    assert manifest.pop("archive_format_version") == CURRENT_VERSIONS["archive"]
    assert manifest == read_manifest(FIRST / "archive")
    for name in ("rows", "cells", "prompts"):
        path = Path(f"{name}.json.xz")
        assert lzma.decompress((tmp_path / "new" / path).read_bytes()) == lzma.decompress(
            (FIRST / "archive" / path).read_bytes()
        )


@pytest.mark.parametrize("arm", ["mean_steering", "self_consistency"])
def test_a_policy_of_the_first_format_keeps_its_hash(arm: str, tmp_path: Path) -> None:
    written = json.loads((FIRST / arm / "policy.json").read_text())
    assert "format" not in written
    assert "format_version" not in written
    policy = elicit.load_policy(FIRST / arm, device="cpu")
    assert policy.sha256 == written["sha256"]
    policy.save(tmp_path)
    again = json.loads((tmp_path / "policy.json").read_text())
    assert again.pop("format_version") == CURRENT_VERSIONS["policy"]
    assert again == written


def test_a_policy_of_the_first_format_answers_as_it_did() -> None:
    from elicit.comparison.reader import read_arms
    from elicit.tasks import get

    with open_run_directory(FIRST / "archive") as run:
        rows = read_arms(read_run_spec(run)[0], run, "cued")["mean_steering"].rows["addition"][0]
    expected = {row.problem: row.completion for row in rows if row.sample == 0}
    policy = elicit.load_policy(FIRST / "mean_steering", device="cpu")
    task = policy.model.bind(draw_sequentially(get("addition", digits=2)))
    problems = [problem for problem in task.problems("test", 12) if problem.id in expected]
    assert len(problems) == 12
    answers = policy.answer(problems, task, label="addition", seed=0)
    assert [answer.text for answer in answers] == [expected[problem.id] for problem in problems]


def _raise_in_json(path: Path, key: str) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, key: 7, "of": {"a": "later version"}}))


def _raise_in_yaml(path: Path) -> None:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "format_version": 7, "later": 1}))


READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "spec": (lambda run: _raise_in_yaml(run / "spec.yaml"), read_run_spec),
    "run": (lambda run: _raise_in_json(run / "manifest.json", "format_version"), read_manifest),
    "rows": (lambda run: _raise_in_json(run / "manifest.json", "rows_format_version"), read_manifest),
    "archive": (lambda run: _raise_in_json(run / "manifest.json", "archive_format_version"), read_manifest),
    "summary": (lambda run: _raise_in_json(run / "summary.json", "format_version"), read_summary),
    "policy": (lambda run: _raise_in_json(run / "policy" / "policy.json", "format_version"), lambda run: _load(run)),
    "card": (lambda run: _raise_in_json(run / "card.json", "format_version"), read_card),
    "SAE": (lambda run: _raise_in_json(run / "sae" / "manifest.json", "format_version"), lambda run: _sae(run)),
    "lens": (lambda run: _raise_in_json(run / "lens" / "lens.json", "format_version"), lambda run: _lens(run)),
}


def _load(run: Path) -> Any:
    return elicit.load_policy(run / "policy")


def _sae(run: Path) -> Any:
    return read_sae_manifest(run / "sae")


def _lens(run: Path) -> Any:
    return JacobianLens.load(run / "lens", elicit.load("cued"))


def test_every_kind_of_file_has_a_reader_that_checks() -> None:
    assert set(READERS) == set(CURRENT_VERSIONS)


@pytest.mark.parametrize("kind", CURRENT_VERSIONS)
def test_a_file_of_a_later_version_names_both_versions(kind: str, tmp_path: Path) -> None:
    with open_run_directory(FIRST / "archive") as unpacked:
        run = Path(shutil.copytree(unpacked, tmp_path / "run"))
    shutil.copytree(FIRST / "mean_steering", run / "policy")
    package = Path(elicit.__file__).parent
    shutil.copyfile(package / "organisms" / "weights" / "cued" / "card.json", run / "card.json")
    (run / "sae").mkdir()
    shipped = sorted((package.parent / "saes" / "weights").rglob("manifest.json"))[0]
    shutil.copyfile(shipped, run / "sae" / "manifest.json")
    fit_jacobian_lens(elicit.load("cued"), ["Q:29+70\nA:#99"], skip_first=3).save(run / "lens")
    damage, read = READERS[kind]
    read(run)  # whole before
    damage(run)
    with pytest.raises(ElicitError) as caught:
        read(run)
    message = str(caught.value)
    latest = CURRENT_VERSIONS[kind]
    assert f"format_version is 7, and elicit {elicit.__version__} reads {kind} files up to version {latest}" in message
    assert "pip install --upgrade elicit-reasoning" in message
    assert str(run) in message


def test_a_new_run_says_its_versions(tmp_path: Path) -> None:
    spec = (FIRST / "spec.yaml").read_text().replace("12", "2").replace("seeds: 2", "seeds: 1")
    path = tmp_path / "spec.yaml"
    path.write_text("format_version: 1\n" + spec)
    run = tmp_path / "run"
    assert run_command(["run", str(path), "--out", str(run), "--arms", "base", "--workers", "1"]) == 0
    manifest = read_manifest(run)
    assert (manifest["format_version"], manifest["rows_format_version"]) == (2, 1)
    assert manifest["elicit"] == elicit.__version__
    assert yaml.safe_load((run / "spec.yaml").read_text())["format_version"] == 1
    assert read_summary(run)["format_version"] == CURRENT_VERSIONS["summary"]
    policy = next(run.rglob("policy.json"))
    assert json.loads(policy.read_text())["format_version"] == 1
    rows = next(run.rglob("addition.jsonl")).read_text().splitlines()
    assert all("format_version" not in json.loads(line) for line in rows)
    assert write_summary(run) == read_summary(run)


@pytest.mark.parametrize("value", ["1", 0, True, 1.0, None])
def test_a_version_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ElicitError, match=r"x: field format_version is .*; expected a whole number from 1"):
        check_format_version({"format_version": value}, "spec", "x")


def test_a_spec_of_a_later_version_is_refused_before_its_fields() -> None:
    with pytest.raises(ElicitError, match="reads spec files up to version 1"):
        parse_spec("format_version: 2\nnew_field: 1\n")

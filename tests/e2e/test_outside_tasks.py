"""A package from outside brings a task, an answer reader and report sections: run, reported, archived, verified.

Its archive is verified again by an interpreter that does not know the package, and by one that has another version.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import elicit
from elicit.comparison.archive import open_run_directory, write_archive
from elicit.comparison.verify import verify_run
from elicit.errors import ElicitError
from elicit.report import write_report
from tests.support.outside import READER, SECTION, TASK, install_package

NAME = "everything_outside"
POINTS = {
    "elicit.tasks/outside_parity": f"{NAME}.tasks:Parity",
    "elicit.readers/last_digit": f"{NAME}.readers:LastDigit",
    "elicit.report_sections/lengths": f"{NAME}.sections:Lengths",
    "elicit.report_sections/broken": f"{NAME}.sections:Broken",
}
ROOT = Path(__file__).parents[2]


def _verify_elsewhere(path: Path) -> subprocess.CompletedProcess[str]:
    """`elicit verify` in an interpreter that does not know the package."""
    command = [sys.executable, "-m", "elicit.cli.main", "verify", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=path.parent, env=environment)


def test_a_package_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, run = tmp_path / "site", tmp_path / "run"
    install_package(site, NAME, {"tasks": TASK, "readers": READER, "sections": SECTION}, POINTS)
    lines = [{"prompt": f"Q:{k}+{k}\nA:", "answer": str(2 * k % 10), "id": str(k)} for k in range(100, 180)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sums = {"task": "jsonl", "path": str(tmp_path / "sums.jsonl"), "read": "last_digit", "max_new_tokens": 8}

    with monkeypatch.context() as patch:
        patch.syspath_prepend(site)
        task = {"task": "outside_parity", "high": 30}
        results = elicit.compare("cued", task, arms=["base"], off_target={"sums": sums}, test=6, out=run)
        rows = results.rows_df()
        assert len(rows) == 6
        assert set(rows["task"]) == {"outside_parity"}
        again = elicit.compare("cued", task, arms=["base"], off_target={"sums": sums}, test=6, out=run)
        assert again.summary == results.summary, "resumed: nothing is done twice"
        checked = verify_run(run)
        assert (checked.rows, checked.differences, checked.notes) == (12, [], [])
        page = write_report(run).read_text()
        assert (
            '<section id="lengths"><details class="part"><summary><h2>Tokens &lt; 100 an answer</h2></summary><table>'
            in page
        )
        assert 'href="#lengths">Lengths</a>' in page
        assert f"The section of {NAME}.sections:Broken failed with AttributeError" in page
        archive = write_archive(run, tmp_path / "archive")

    (tmp_path / "sums.jsonl").unlink()
    monkeypatch.delitem(sys.modules, f"{NAME}.sections")
    page = write_report(run).read_text()
    assert 'id="lengths"' not in page
    assert "Q:" in page, "the problems are shown without their code"

    absent = _verify_elsewhere(archive)
    assert absent.returncode == 0, absent.stdout + absent.stderr
    assert absent.stdout.splitlines()[:-1] == [
        f"outside_parity: verdicts were taken from the rows, because {NAME}.tasks:Parity is not installed",
        f"sums: verdicts were taken from the rows, because {NAME}.readers:LastDigit is not installed",
    ]
    assert "and 0 verdicts checked, 0 differ" in absent.stdout

    monkeypatch.syspath_prepend(site)
    with open_run_directory(archive) as unpacked:
        here = verify_run(unpacked)
        assert (here.rows, here.differences, here.notes) == (12, [], [])
        (site / NAME / "readers.py").write_text(READER.replace("[-1]", "[0]"))
        changed = verify_run(unpacked)
    assert (changed.rows, changed.notes) == (6, [])
    assert f"{NAME}.readers:LastDigit is not the code that the run was made with" in changed.differences[0]


def test_an_object_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared as it is, resumed in the same folder, and refused there once its code has changed."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_parity.py").write_text(TASK)
    parity = __import__("own_parity").Parity(high=30)
    results = elicit.compare("cued", parity, arms=["base"], test=4, out=tmp_path / "run")
    assert results.summary == elicit.compare("cued", parity, arms=["base"], test=4, out=tmp_path / "run").summary
    assert verify_run(tmp_path / "run").rows == 4
    (tmp_path / "own_parity.py").write_text(f"{TASK}\n# another version\n")
    with pytest.raises(ElicitError, match=r"the file of task 'Parity \(code\)' has changed since the run"):
        elicit.compare("cued", parity, arms=["base"], test=4, out=tmp_path / "run")

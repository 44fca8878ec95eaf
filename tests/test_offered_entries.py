"""`elicit ls` and what packages offer: what can be imported is listed with its package, the rest is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from elicit.cli.main import run_command
from tests.support.outside import TASK, install_package

METHOD = '''
from dataclasses import dataclass
from elicit.method import Method, task_decoding


@dataclass(frozen=True)
class Plain(Method):
    """The base as it is.

    More of it.
    """

    tokens: int = 39

    def fit(self, base, task, *, seed, needs, scratch=None):
        from elicit.policy import Policy
        return Policy(base, task_decoding(task))
'''
_INSTANCE = TASK + "\nDEFAULT = Parity(high=20)\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages on `sys.path`."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def _list(kind: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """Output of `elicit ls KIND`, and its lines on stderr."""
    assert run_command(["ls", kind]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()


def test_tasks_of_packages_are_listed_with_their_package(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _ = _list("tasks", capsys)
    points = {"elicit.tasks/parity_task": "ls_good.mine:Parity", "elicit.tasks/small": "ls_good.mine:DEFAULT"}
    install_package(site, "ls_good", {"mine": _INSTANCE}, points)
    after, errors = _list("tasks", capsys)
    assert errors == []
    assert after.startswith(before)
    lines = after.removeprefix(before).splitlines()
    names, parameters = lines[::2], lines[1::2]
    assert [(line.split()[0], "ls_good" in line) for line in names] == [("`parity_task`", True), ("`small`", True)]
    assert "high" in parameters[0]
    assert "40" in parameters[0]
    assert "high" not in parameters[1]


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        ("import no_such_module_at_all", "ls_bad.mine:Parity"),
        ("1 / 0", "ls_bad.mine:Parity"),
        ("x = (", "ls_bad.mine:Parity"),
        (TASK, "ls_bad.mine:Party"),
        (TASK, "ls_bad.theirs:Parity"),
        ("class Parity:\n    pass", "ls_bad.mine:Parity"),
    ],
)
def test_one_that_cannot_be_imported_is_named_and_the_rest_is_listed(
    source: str, reference: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, _ = _list("tasks", capsys)
    install_package(site, "ls_bad", {"mine": source}, {"elicit.tasks/a_broken": reference})
    install_package(site, "ls_other", {"mine": TASK}, {"elicit.tasks/b_fine": "ls_other.mine:Parity"})
    after, (error,) = _list("tasks", capsys)
    assert "a_broken" in error
    assert "ls_bad" in error
    assert [line.split()[0] for line in after.removeprefix(before).splitlines()[::2]] == ["`b_fine`"]


def test_names_that_mean_another_task_are_named(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is built in, and one that two packages offer: the references still lead to each."""
    for package, names in (("ls_one", ("addition", "both")), ("ls_two", ("both",))):
        points = {f"elicit.tasks/{name}": f"{package}.mine:Parity" for name in names}
        install_package(site, package, {"mine": TASK}, points)
    listed, errors = _list("tasks", capsys)
    assert [listed.count(f"`both` (package {package}, {package}.mine:Parity)") for package in ("ls_one", "ls_two")] == [
        1,
        1,
    ]
    assert len(errors) == 3
    for error, name, reference in zip(
        errors, ("addition", "both", "both"), ("ls_one.mine", "ls_one.mine", "ls_two.mine"), strict=True
    ):
        assert f"{name!r}" in error
        assert error.endswith(f"{reference}:Parity")


def test_methods_of_packages_are_listed_in_the_same_way(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, errors = _list("methods", capsys)
    assert errors == []
    points = {
        "elicit.methods/fine": "ls_methods.good:Plain",
        "elicit.methods/broken": "ls_methods.bad:Plain",
        "elicit.methods/grpo_wrong_label": "ls_methods.good:Plain",
    }
    install_package(site, "ls_methods", {"good": METHOD, "bad": "import no_such_module_at_all"}, points)
    after, (broken, hidden) = _list("methods", capsys)
    *_, last = before.splitlines()
    new = after.splitlines()[len(before.splitlines()) - 1 :]
    assert new[-1] == last
    assert [line.split()[0] for line in new[:-1] if not line.startswith(" ")] == ["`fine`", "`grpo_wrong_label`"]
    assert new[0].endswith("The base as it is.")
    assert new[1].split() == ["tokens:", "int", "=", "39"]
    assert "ls_methods" in broken
    assert "'broken'" in broken
    assert "'grpo_wrong_label'" in hidden, "an older name of a built-in method"
    assert hidden.endswith("ls_methods.good:Plain")

"""Methods of an installed package and of a file: run, resumed, reported, archived, and verified where neither is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elicit.model import load
from tests.support.comparisons import Outcome, elicit
from tests.support.forked import forked

PACKAGE = '''
"""Answers cut short, and their control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from elicit.method import Method, Traits, task_decoding
from elicit.policy import Policy
from elicit.prompting import Prompting


@dataclass(frozen=True)
class Forced(Method):
    """The opening of a worked solution, forced."""

    tokens: int = 40
    traits: ClassVar[Traits] = Traits(family="hybrid")

    def fit(self, base, task, *, seed, needs, scratch=None):
        decoding = task_decoding(task).replace(max_new_tokens=self.tokens)
        return Policy(base, decoding, prompting=Prompting(condition="cue"))


@dataclass(frozen=True)
class Unforced(Method):
    """The same number of tokens, without it."""

    tokens: int = 40
    traits: ClassVar[Traits] = Traits(control_of="forced", label="the same room without the opening")

    def fit(self, base, task, *, seed, needs, scratch=None):
        return Policy(base, task_decoding(task).replace(max_new_tokens=self.tokens))
'''
ONE_FILE = '''
from dataclasses import dataclass
from typing import ClassVar

from elicit.method import Method, Traits, task_decoding
from elicit.policy import Policy


@dataclass(frozen=True)
class Warm(Method):
    """A sample at a temperature."""

    temperature: float = 0.5
    traits: ClassVar[Traits] = Traits(seeded=True, family="decoding")

    def fit(self, base, task, *, seed, needs, scratch=None):
        return Policy(base, task_decoding(task, temperature=self.temperature))


@dataclass(frozen=True)
class NoReturn(Method):
    """It forgets to return."""

    tokens: int = 8

    def fit(self, base, task, *, seed, needs, scratch=None):
        Policy(base, task_decoding(task))


@dataclass(frozen=True)
class Mistaken(Method):
    """It misspells an argument."""

    tokens: int = 8

    def fit(self, base, task, *, seed, needs, scratch=None):
        return Policy(base, task_decoding(task), steerings=())
'''
SPEC = """
models: [cued]
task: addition
arms:
  base: {method: base}
  forced: {method: forced}
  forced/unforced: {method: unforced}
  warm: {method: warm.py:Warm, temperature: 0.7}
  again: {method: "outside_package.methods:Forced", tokens: 39}
test: 40
kl_problems: 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package as it is installed, with its entry points; a file; and a spec that names them."""
    assert load("cued")  # here, so that no forked child has to import what loads a model
    folder = tmp_path_factory.mktemp("outside")
    package = folder / "installed" / "outside_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "methods.py").write_text(PACKAGE)
    about = folder / "installed" / "outside_package-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-package\nVersion: 1.2\n")
    (about / "top_level.txt").write_text("outside_package\n")
    (about / "entry_points.txt").write_text(
        "[elicit.methods]\nforced = outside_package.methods:Forced\nunforced = outside_package.methods:Unforced\n"
    )
    (folder / "warm.py").write_text(ONE_FILE)
    (folder / "spec.yaml").write_text(SPEC)
    return folder


#: The command line in a folder, with a package installed or not, where none of its code has been imported.
PROGRAM = """
import json, os, sys
from tests.support.comparisons import elicit
folder, site, *words = sys.argv[1:]
os.chdir(folder)
sys.path[:0] = [site] * bool(site)
for name in [name for name in sys.modules if name.startswith(("outside_package", "elicit_file_"))]:
    del sys.modules[name]
print(json.dumps(elicit(*words)))
"""


def call(folder: Path, *words: object, installed: bool = True) -> Outcome:
    site = str(folder / "installed") if installed else ""
    done = forked(PROGRAM, str(folder), site, *map(str, words))
    assert done.code == 0, done.out
    return Outcome(*json.loads(done.out))


def test_from_run_to_archive(folder: Path) -> None:
    run = folder / "run"
    listed = call(folder, "ls", "methods")
    (line,) = [line for line in listed.out.splitlines() if line.startswith("`forced`")]
    for part in ("outside-package", "outside_package.methods:Forced", "The opening of a worked solution, forced."):
        assert part in line

    done = call(folder, "run", folder / "spec.yaml", "--out", run, "--arms", "base,forced")
    assert done.code == 0, done.err
    rows = (run / "cells/cued/forced/0/rows/addition.jsonl").read_bytes()
    resumed = call(folder, "run", folder / "spec.yaml", "--out", run, "--workers", 1)
    assert resumed.code == 0, resumed.err
    assert (run / "cells/cued/forced/0/rows/addition.jsonl").read_bytes() == rows
    assert "hybrid" in resumed.out.lower()

    summary = json.loads((run / "summary.json").read_text())
    arms = summary["models"]["cued"]["tasks"]["addition"]["arms"]
    assert arms["forced"]["accuracy"] > arms["forced/unforced"]["accuracy"] + 0.5
    assert {name: arms[name]["method"] for name in ("forced", "warm", "again")} == {
        "forced": "forced",
        "warm": "warm.py:Warm",
        "again": "outside_package.methods:Forced",
    }
    assert arms["forced"]["traits"] == {"family": "hybrid"}
    assert "traits" not in arms["base"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["methods"]["forced"]["package"] == "outside-package 1.2"
    assert set(manifest["files"]) == {f"arms.{arm}.method" for arm in ("forced", "forced/unforced", "warm", "again")}

    # Where neither the package nor the file is there, the run is what it was.
    page = (run / "report.html").read_text()
    (folder / "warm.py").rename(folder / "warm.txt")
    try:
        reported = call(folder, "report", run, installed=False)
        assert reported.code == 0, reported.err
        assert reported.out.split("report:")[0] in resumed.out
        assert (run / "report.html").read_text() == page
        assert "the same room without the opening" in page
        assert "Hybrid steering" in page
        archived = call(folder, "archive", run, folder / "archive", installed=False)
        assert archived.code == 0, archived.err
        assert str(folder) not in (folder / "archive" / "spec.yaml").read_text()
        for place in (run, folder / "archive"):
            verified = call(folder, "verify", place, installed=False)
            assert verified.code == 0, verified.out + verified.err
            assert ", 0 differ" in verified.out
        again = call(folder, "run", folder / "spec.yaml", "--out", run, installed=False)
        assert (again.code, "unknown method 'forced'" in again.err) == (2, True), again.err
        assert again.err.strip().count("\n") == 0
    finally:
        (folder / "warm.txt").rename(folder / "warm.py")


def test_a_task_that_fails_is_one_line_before_the_run(folder: Path) -> None:
    (folder / "odd.py").write_text(
        "from elicit.tasks import TaskBase, Verdict\n\n\nclass Odd(TaskBase):\n    name = 'odd'\n\n"
        "    def problems(self, split, n=None, seed=0):\n        return [int('x')]\n\n"
        "    def verify(self, problem, completion):\n        return Verdict(None, False, False, None)\n"
    )
    spec = folder / "odd.yaml"
    spec.write_text("models: [cued]\ntask: odd.py:Odd\narms: [base]\ntest: 8\n")
    refused = call(folder, "run", spec, "--out", folder / "odd", "--plan")
    assert refused.code == 2, refused.err
    assert "odd.py, line 8: ValueError: invalid literal for int()" in refused.err
    assert refused.err.strip().count("\n") == 0


def test_edited_code_does_not_go_on(folder: Path) -> None:
    run, spec = folder / "edited", folder / "warm.yaml"
    spec.write_text("models: [cued]\ntask: addition\narms: {warm: {method: warm.py:Warm}}\ntest: 8\nkl_problems: 0\n")
    assert call(folder, "run", spec, "--out", run, "--workers", 1).code == 0
    (folder / "warm.py").write_text(ONE_FILE + "\n# edited\n")
    refused = call(folder, "run", spec, "--out", run, "--workers", 1)
    assert refused.code == 2
    assert "the file of arms.warm.method has changed since the run in" in refused.err
    assert refused.err.strip().endswith("or make its cells again: --replace warm.")
    again = call(folder, "run", spec, "--out", run, "--workers", 1, "--replace", "warm")
    assert again.code == 0, again.err
    (folder / "warm.py").write_text(ONE_FILE)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ("{x: {method: absent.py:X}}", "arm 'x': "),
        ("{x: {method: warm.py}}", "is a file. Name its class too: warm.py:MyMethod"),
        ("{x: {method: warm.py:Wram}}", "Did you mean 'Warm'?"),
        ("{x: {method: warm.py:Policy}}", "expected a subclass of elicit.method.Method"),
        (
            "{x: {method: warm.py:Warm, temprature: 1}}",
            "unknown field of method 'warm.py:Warm' 'temprature'. Did you mean 'temperature'?",
        ),
        ("{x: {method: forced, tokens: many}}", "method 'forced', field 'tokens': 'many'"),
        (
            "{f: {method: forced, tokens: 9}, f/u: {method: unforced}}",
            "its tokens is 40, its parent's 9. Type: tokens: 9",
        ),
        ("{x: {method: grpo, reward: rnadom}}", "unknown reward 'rnadom'. Did you mean 'random'?"),
        ("{x: {method: grpo, reward: absent.py:f, steps: 1}}", "absent.py does not exist"),
        ("{x: {method: grpo, trainer_class: warm.py:Warm, steps: 1}}", "expected a subclass of TRL's GRPOTrainer"),
        (
            "{base: {method: base}, base/u: {method: unforced}}",
            "'base' is an arm of another method. Add an arm of forced",
        ),
        ("{f: {method: forced}, g/u: {method: unforced}}", "the arm it controls: unknown arm 'g'"),
        ("{x: {method: warm.py:NoReturn}}", "NoReturn.fit returned NoneType; expected a Policy"),
        ("{x: {method: warm.py:Mistaken}}", "warm.py, line 37: TypeError: Policy.__init__() got an unexpected keyword"),
        ("{x: {method: warm.py:Mistaken, search: {tokens: [8, 9]}}}", "warm.py, line 37: TypeError: Policy.__init__()"),
        ("{x: {method: warm.py:NoReturn, search: {tokens: [8, 9]}}}", "NoReturn.fit returned NoneType; expected a"),
        ("{g: {method: grpo}, g/r: {method: grpo, reward: random, steps: 3}}", "its steps is 3, its parent's 32"),
    ],
)
def test_refused_in_one_line(folder: Path, arms: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder / "installed")
    spec = folder / "refused.yaml"
    spec.write_text(f"models: [cued]\ntask: addition\narms: {arms}\ntest: 8\n")
    refused = elicit("run", spec, "--out", folder / "refused")
    assert refused.code == 2, refused.err
    assert message in refused.err
    assert refused.err.strip().count("\n") == 0, refused.err
    assert not (folder / "refused").exists()

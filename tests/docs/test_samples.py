"""Every code sample in the README and the documentation is run, or read by what would run it.

Python fences of a page are executed one after another. Those that open with a file's name (`# parity.py`) are written
to that file first, and entry points in TOML are installed. YAML is checked as a spec, with the files that it names
there; lines of shell that start with `elicit` are parsed by the command line, targets of `make` and scripts must exist.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import tyro
import yaml

import elicit
from docs.builder.paths import ROOT
from elicit.cli.main import run_command
from elicit.comparison.spec import parse_spec
from elicit.methods import outside as methods_outside
from elicit.plugins import parse_reference
from elicit.report.html import outside_sections
from elicit.tasks import outside
from elicit.tasks.datasets import formats
from saes.loading import formats as sae_formats
from tests.docs.samples import Fence, list_fences, write_page_files

FENCES = list_fences()
#: Groups of entry points.
GROUPS = {methods_outside.GROUP, outside.GROUP, formats.READERS, outside_sections.GROUP, sae_formats.GROUP}

#: First lines of samples that need a download, a finished run of another model, or another program: (page, first line).
NOT_RUN = {
    ("docs/guides/interop.md", 'PeftModel.from_pretrained(base, "runs/NAME/cells/M/sft/0/policy/checkpoints/000010")'),
    ("docs/guides/your-data.md", "task: {task: dataset, path: org/name, config: main, revision: v1, download: true,"),
    (
        "docs/guides/your-data.md",
        "task: {task: gsm8k, download: true, reading: strict}  # flexible (default), strict, last",
    ),
}


def _pages_with(language: str) -> list[str]:
    return sorted({fence.page for fence in FENCES if fence.language == language and not _is_skipped(fence)})


def _is_skipped(fence: Fence) -> bool:
    return (fence.page, fence.first_line) in NOT_RUN


def test_every_sample_says_its_language_and_every_exception_is_there() -> None:
    known = {"python", "yaml", "json", "sh", "text", "toml"}
    assert {(fence.page, fence.line) for fence in FENCES if fence.language not in known} == set()
    openings = {(fence.page, fence.first_line) for fence in FENCES}
    openings |= {(fence.page, text.splitlines()[0]) for fence in FENCES for text in _task_lines(fence)}
    assert openings >= NOT_RUN


@pytest.mark.parametrize("page", _pages_with("python"))
def test_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("sample")
    monkeypatch.setitem(sys.modules, "sample", module)  # where dataclasses look their names up
    fences = [fence for fence in FENCES if fence.page == page]
    monkeypatch.syspath_prepend(tmp_path)
    write_page_files(fences, tmp_path)
    for fence in fences:
        if fence.language == "python" and fence.file is None and not _is_skipped(fence):
            # Line numbers of a traceback are those of the page.
            exec(compile("\n" * fence.line + fence.code, page, "exec"), vars(module))


@pytest.mark.parametrize("page", _pages_with("yaml"))
def test_yaml_is_a_spec(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write_files(tmp_path)
    write_page_files([fence for fence in FENCES if fence.page == page], tmp_path)
    for fence in FENCES:
        if fence.page != page or fence.language != "yaml":
            continue
        for text in _task_lines(fence) or [fence.code]:
            if (page, text.splitlines()[0]) not in NOT_RUN:
                parse_spec(_as_spec(text), where=f"{page}:{fence.line}", folder=tmp_path)


def _task_lines(fence: Fence) -> list[str]:
    """The alternatives of a fence that shows several tasks, one `task: {...}` each; else nothing."""
    parts = re.split(r"^(?=task: \{)", fence.code, flags=re.MULTILINE)[1:] if fence.language == "yaml" else []
    return parts if len(parts) > 1 else []


def _as_spec(text: str) -> str:
    """A sample as a whole spec: what it leaves out is filled in."""
    data = yaml.safe_load(text)
    defaults = {"models": ["model.gguf"], "task": "addition", "arms": {"base": {"method": "base"}}}
    missing = {key: value for key, value in defaults.items() if key not in data}
    return text + (yaml.safe_dump(missing) if missing else "")


def _write_files(folder: Path) -> None:
    """The data files that samples name."""
    rows = [{"question": f"{i} + 1?", "final": str(i + 1)} for i in range(60)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    capitals = [{"prompt": f"{i}. Name the capital of Peru:", "answer": "Lima"} for i in range(60)]
    (folder / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in capitals), encoding="utf-8")
    solved = [{"question": f"{i} + 1?", "answer": f"It is {i + 1}.\n#### {i + 1}"} for i in range(60)]
    (folder / "data").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in solved)
    for split in ("train", "test"):
        (folder / "data" / "gsm8k").mkdir(exist_ok=True)
        (folder / "data" / "gsm8k" / f"{split}.jsonl").write_text(
            text.replace(" + 1?", f" + 1 {split}?"), encoding="utf-8"
        )
    options = [{"prompt": f"{i}?", "choices": ["yes", "no"], "answer": "A"} for i in range(60)]
    pd.DataFrame(options).to_parquet(folder / "arc.parquet")
    boxed = [{"problem": f"{i}?", "solution": f"\\boxed{{{i}}}"} for i in range(60)]
    pd.DataFrame(boxed).to_parquet(folder / "my_math.parquet")


@pytest.mark.parametrize("fence", [fence for fence in FENCES if fence.language == "json"], ids=lambda fence: fence.page)
def test_json_is_a_problem(fence: Fence, tmp_path: Path) -> None:
    problem = json.loads(fence.code)
    others = ({**problem, "id": f"{i}", "group": f"{i}", "prompt": f"Problem {i}"} for i in range(40))
    lines = (json.dumps(line) + "\n" for line in (problem, *others))
    (tmp_path / "problems.jsonl").write_text("".join(lines), encoding="utf-8")
    task = elicit.tasks.get("jsonl", path=str(tmp_path / "problems.jsonl"))
    read = {first.prompt: first for split in ("train", "select", "test") for first in task.problems(split)}
    assert read[problem["prompt"]].answer == problem["answer"]
    assert task.worked(read[problem["prompt"]]) == problem["worked"]


@pytest.mark.parametrize("fence", [fence for fence in FENCES if fence.language == "toml"], ids=lambda fence: fence.page)
def test_toml_names_groups_that_are_read(fence: Fence) -> None:
    groups = tomllib.loads(fence.code)["project"]["entry-points"]
    assert set(groups) <= GROUPS
    assert all(parse_reference(code) for names in groups.values() for code in names.values())


def _commands() -> Iterator[tuple[str, str]]:
    for fence in FENCES:
        if fence.language == "sh":
            for line in fence.code.splitlines():
                yield fence.page, line


@pytest.mark.parametrize(("page", "line"), sorted(set(_commands())))
def test_commands_exist(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *rest = shlex.split(line, comments=True) or ["#"]
    if program == "elicit":
        assert _parses(rest, monkeypatch), line
    elif program == "make":
        targets = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[
            0
        ].split()
        assert set(rest) <= set(targets)
    elif program in ("python", "sh"):
        assert (ROOT / rest[0]).is_file()
    else:  # programs of others
        assert program in ("#", "python3.11", ".venv/bin/pip", "lm_eval", "inspect")


def _parses(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the command line takes these arguments. Nothing is run: parsing ends in `KeyboardInterrupt`."""
    read, parsed = tyro.cli, []

    def parse_only(*args: Any, **options: Any) -> None:
        parsed.append(read(*args, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(tyro, "cli", parse_only)
    if arguments[:1] == ["lm-eval"] and arguments[1] not in ("task", "steering"):
        monkeypatch.setattr("elicit.interop.lm_eval.run_command_line", lambda arguments: parsed.append(arguments) or 0)
    run_command(arguments)
    return len(parsed) == 1


def test_a_wrong_command_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["run", "my.yaml", "--plann"], ["ls", "everything"]):
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            _parses(arguments, patch)
    with monkeypatch.context() as patch:
        assert not _parses(["rum", "my.yaml"], patch)


def test_samples_are_found() -> None:
    """The list of fences is not empty by mistake."""
    counts = {language: len(list(group)) for language, group in itertools.groupby(sorted(f.language for f in FENCES))}
    assert counts["python"] >= 8
    assert counts["yaml"] >= 5
    assert counts["sh"] >= 10

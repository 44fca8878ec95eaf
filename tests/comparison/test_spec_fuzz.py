"""Whatever a spec file holds, reading it gives a checked spec or one line that says what is wrong."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elicit.comparison.spec import Spec, check_spec, parse_spec
from elicit.comparison.spec.cells import list_cells
from elicit.errors import ElicitError
from tests.support.comparisons import SPEC, elicit, write_spec

FULL: dict[str, Any] = {
    **SPEC,
    "arms": {
        **SPEC["arms"],
        "sft": {**SPEC["arms"]["sft"], "checkpoints": [1]},
        "mean_steering/random": {"method": "random_vector", "parent": "mean_steering"},
        "mean_steering/all": {"method": "same_vector", "parent": "mean_steering", "positions": "all"},
        "cue": {"method": "cue_prompt", "condition": "forced"},
    },
    "panels": {"cued": {"off_target": ["mod_chain"], "test": 5}},
    "trajectory": {"problems": 5, "probe": 4},
    "dtype": "auto",
    "device": "cpu",
}

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**63, 10**25, 1e308, -0.0, float("nan"), float("inf")]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["", "base", "sft", "cued", "addition", "jsonl", "3", "1e-3", "no", ".", "..", "/", "~", "\x1b[2J"]
    ),
    st.sampled_from(["a\nb", "\ud800", "\0", "\u2028", "é" * 200, "{prompt}", "first:0", "parent", "../../etc"]),
    st.dates(),
    st.binary(max_size=4),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in below for place in _places(item, (*path, key)))]


@st.composite
def _mutated(draw: st.DrawFn) -> Any:
    """A valid spec after one to three changes: a value replaced, a field dropped, renamed or added."""
    data = copy.deepcopy(FULL)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_places(data)[1:] or [()]))
        if not place:
            return data
        home = data
        for key in place[:-1]:
            home = home[key]
        kind = draw(st.sampled_from(["replace", "drop", "rename", "add"]))
        if kind == "replace" or isinstance(home, list):
            home[place[-1]] = draw(_VALUES)
        elif kind == "add":
            home[draw(st.text(max_size=8))] = draw(_VALUES)
        else:
            value = home.pop(place[-1])
            if kind == "rename":
                home[draw(st.sampled_from([str(place[-1])[:-1], str(place[-1]).upper(), 7, "", "a/b"]))] = value
    return data


def _is_spec_or_one_line(text: str | None, data: Any = None) -> None:
    try:
        spec = check_spec(data) if text is None else parse_spec(text)
    except ElicitError as error:
        message = str(error)
        assert message
        assert message.isprintable() or not any(ord(c) < 32 or c in "\x7f\u2028\u2029" for c in message), repr(message)
        return
    # What was taken can be worked with: it has cells, and it survives its own file.
    assert isinstance(spec, Spec)
    assert list_cells(spec)
    assert parse_spec(yaml.safe_dump(spec.to_dict(), sort_keys=False, allow_unicode=True)) == spec
    json.dumps(spec.to_dict(), allow_nan=False)


_FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def test_the_spec_that_is_mutated_is_valid() -> None:
    spec = check_spec(FULL)
    assert len(list_cells(spec)) == 1 + 2 + 1 + 2 + 2 + 1 + 1
    _is_spec_or_one_line(None, FULL)


@settings(_FUZZ, max_examples=200)
@given(_mutated())
def test_mutated_specs(data: Any) -> None:
    if isinstance(data, dict):
        _is_spec_or_one_line(None, data)


@settings(_FUZZ, max_examples=100)
@given(_mutated())
def test_mutated_specs_as_yaml(data: Any) -> None:
    _is_spec_or_one_line(yaml.safe_dump(data, allow_unicode=True))


_YAML = [
    "models",
    "task",
    "arms",
    "cued",
    "addition",
    "base",
    "method",
    ": ",
    ":",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
]
_YAML += [
    ",",
    "&a ",
    "*a",
    "!!set ",
    "!!binary ",
    "!!omap ",
    "!x ",
    "<<: ",
    "? ",
    "| ",
    "> ",
    "'",
    '"',
    "%YAML 1.2\n",
    "---",
]
_YAML += ["2026-99-99", "1:2:3", ".nan", "0x" + "f" * 5000, "\t", "#", "@", "`", "=", "~", "\ufeff", "\x85", "9" * 5000]


@settings(_FUZZ, max_examples=200)
@given(st.lists(st.sampled_from(_YAML) | st.text(max_size=3), max_size=20).map("".join))
def test_random_yaml(text: str) -> None:
    _is_spec_or_one_line(text)


@settings(_FUZZ, max_examples=60)
@given(
    st.lists(st.sampled_from(['"prompt"', '"answer"', ": ", ", ", "{", "}", "1", '"x"', "NaN", "[", "\n"]), max_size=25)
)
def test_random_files_of_problems(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problems.jsonl"
        path.write_text("".join(parts))
        _is_spec_or_one_line(None, {**FULL, "task": {"task": "jsonl", "path": str(path)}})


@settings(_FUZZ, max_examples=12)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_random_files_through_the_command_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_bytes(data)
        done = elicit("run", path, "--out", Path(folder) / "run")
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert not (Path(folder) / "run").exists()


@pytest.mark.parametrize("kind", ["models", "arms", "off_target"])
def test_names_are_folders_and_cannot_leave_the_run(tmp_path: Path, kind: str) -> None:
    for name in ("..", ".hidden", "/etc", "a/../b", "a//b", "a/", "con\n", "x" * 101, "-rf", "a b", "ä"):
        data = {**FULL, kind: {**FULL[kind], name: copy.deepcopy(next(iter(FULL[kind].values())))}}
        done = elicit("run", write_spec(tmp_path, data), "--out", tmp_path / "run")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "is not usable as a folder name" in done.err

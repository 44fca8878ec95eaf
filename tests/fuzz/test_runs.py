"""Damaged run directories and archives: every verb ends well, or with one line that names the file."""

from __future__ import annotations

import resource
import shutil
import time
from pathlib import Path

import pytest

from elicit import seeds
from tests.fuzz.run_damage import damage
from tests.support.comparisons import SPEC, changed, content, elicit, reference, write_spec
from tests.support.shared import once

#: Seconds and bytes that no verb may take on a small run, however damaged it is.
_SECONDS, _MEMORY = 30.0, 4 << 30


def _whole() -> Path:
    """A folder with a small run that has every kind of file, its spec, and its archive."""

    def make(folder: Path) -> None:
        arms = {
            "base": SPEC["arms"]["base"],
            "sft": {
                **SPEC["arms"]["sft"],
                "checkpoints": [1],
                "warn": {"chains": {"task": "mod_chain"}},
                "warn_every": 1,
            },
            "mean_steering": SPEC["arms"]["mean_steering"],
            "failing": {"method": "sft", "demonstrations": 8, "learning_rate": 1e30},
        }
        lines = "".join(f'{{"prompt": "Q:{a}+21\\nA:", "answer": "{a + 21}"}}\n' for a in range(10, 99))
        (folder / "sums.jsonl").write_text(lines)
        sums = {"task": "jsonl", "path": str(folder / "sums.jsonl"), "max_new_tokens": 4}
        data = changed(
            arms=arms, off_target={"chains": {"task": "mod_chain"}, "jsonl": sums}, seeds=1, test=6, samples=2
        )
        assert elicit("run", write_spec(folder, data), "--out", folder / "run", "--workers", 1).code == 1
        assert elicit("archive", folder / "run", folder / "archive").code == 0

    return once("fuzzed", make)


def _verbs(place: Path, aside: Path, spec: Path) -> list[tuple[object, ...]]:
    return [
        ("verify", place),
        ("report", place),
        ("ls", "runs", "--folder", place.parent),
        ("export", place, "--to", "csv", "--out", aside / "csv"),
        ("export", place, "--to", "inspect-json", "--out", aside / "inspect"),
        ("export", place, "--to", "lm-eval", "--out", aside / "lm-eval"),
        ("export", place, "--to", "vectors", "--out", aside / "vectors"),
        ("export", place, "--to", "tensorboard", "--out", aside / "tensorboard"),
        ("archive", place, aside / "archive"),
        ("run", spec, "--out", place, "--plan"),
    ]


def _check(source: Path, spec: Path, tmp_path: Path, case: int, verbs: int) -> list[str]:
    """What went wrong with one damaged copy under some verbs, chosen by the case."""
    rng = seeds.make_generator("fuzz", "runs", case)
    files = sorted(
        path.relative_to(source)
        for path in source.rglob("*")
        if path.is_file() and "policy" not in path.parts and path.suffix in (".json", ".jsonl", ".yaml", ".xz")
    )
    kinds = sorted({path.name for path in files})
    kind = kinds[int(rng.integers(len(kinds)))]
    like = [path for path in files if path.name == kind]
    target = like[int(rng.integers(len(like)))]
    place = tmp_path / f"case{case}" / "run"
    shutil.copytree(source, place)
    how = f"case {case}, {target}: {damage(place / target, rng)}"
    wrong = []
    every = _verbs(place, tmp_path / f"aside{case}", spec)
    for i in rng.permutation(len(every))[:verbs].tolist():
        verb = every[i]
        before, started = content(place), time.monotonic()
        try:
            done = elicit(*verb)
        except Exception as error:
            wrong.append(f"{how}: {verb[0]} {verb[2:]}: {type(error).__name__}: {str(error)[:200]}")
            continue
        seconds, name = time.monotonic() - started, f"{how}: {' '.join(map(str, verb))}"
        if seconds > _SECONDS:
            wrong.append(f"{name}: {seconds:.0f} s")
        if done.code not in (0, 1, 2) or "Traceback" in done.err:
            wrong.append(f"{name}: {done.code}, {done.err[-300:]}")
        if done.code == 2 and verb[0] != "ls" and (done.err.count("\n") != 1 or len(done.err) > 1500):
            wrong.append(f"{name}: no single line: {done.err[-1500:]}")
        if done.code == 2:
            after = content(place)
            moved = [one for one in after if after[one] != before.get(one) and one != "summary.json"]
            if [one for one in moved if (place / one).is_file()] or (verb[0] != "ls" and _left(verb)):
                wrong.append(f"{name}: left something half-written: {moved}")
    shutil.rmtree(place.parent)
    return wrong


def _left(verb: tuple[object, ...]) -> bool:
    """Whether a verb that failed left what it was to write."""
    target = verb[2] if verb[0] == "archive" else verb[-1] if verb[0] == "export" else None
    return isinstance(target, Path) and target.exists()


def _within_memory() -> None:
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < _MEMORY


def test_a_damaged_run_is_one_line(tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    assert [line for case in range(20) for line in _check(reference(), spec, tmp_path, case, 2)] == []
    _within_memory()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "archive"])
def test_many_damaged_runs_are_one_line_each(tmp_path: Path, kind: str) -> None:
    source = _whole() / kind
    wrong = [line for case in range(200) for line in _check(source, _whole() / "spec.yaml", tmp_path, 1000 + case, 4)]
    assert wrong == []
    _within_memory()

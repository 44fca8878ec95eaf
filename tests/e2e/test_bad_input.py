"""Bad input ends with exit code 2 and one line on stderr that says the place, what was found and what to type."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.comparisons import content, elicit, start, write_spec
from tests.support.ggufs import llama, write

GOOD = "models: [cued]\ntask: addition\narms: [base]\ntest: 5\n"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nmodels: [*b, *b, *b, *b]\n"


def _arms(text: str) -> str:
    return f"models: [cued]\ntask: addition\narms: {text}\ntest: 5\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing may appear in the working directory."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)
    yield
    assert list(place.iterdir()) == []


def _refused(*arguments: object) -> str:
    """The message, without its verb."""
    done = elicit(*arguments)
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    assert done.err.endswith("\n")
    assert done.err.startswith(f"elicit {arguments[0]}: ")
    return done.err.removeprefix(f"elicit {arguments[0]}: ").rstrip()


SPECS = {
    "unknown field": (
        "model: [cued]\n",
        "unknown field 'model'. Did you mean 'models'? Known: arms, assume, budgets, cache_gib, ",
    ),
    "missing field": ("models: [cued]\ntask: addition\n", "the field 'arms' is missing. A spec needs models, task and"),
    "empty": ("", "expected a mapping with models, task and arms; found nothing."),
    "only a comment": ("# to do\n", "expected a mapping with models, task and arms; found nothing."),
    "list": ("- cued\n- addition\n", "expected a mapping with models, task and arms; found list."),
    "text": ("cued", "expected a mapping with models, task and arms; found str."),
    "unclosed": ("models: [cued\ntask: addition\n", ", line 2: not valid YAML: "),
    "tab": ("models:\n\t- cued\n", ", line 2: not valid YAML: found character '\\t' that cannot start any token."),
    "duplicate key": (GOOD + "test: 6\n", ", line 5: not valid YAML: 'test' is given twice."),
    "duplicate arm": (
        _arms("\n  base: {method: base}\n  base: {method: sft}"),
        "line 5: not valid YAML: 'base' is giv",
    ),
    "alias": (LAUGHS, ", line 2: not valid YAML: aliases (*name) are not used in specs."),
    "object tag": ("models: !!python/object/apply:os.system [ls]\n", ", line 1: not valid YAML: could not determine"),
    "deep": ("models: " + "[" * 600, "not valid YAML: maximum recursion depth exceeded"),
    "date": (GOOD + "dtype: 2026-01-01\n", "field 'dtype': datetime.date(2026, 1, 1) is neither text, a number"),
    "set": (_arms("{m: {method: mean_steering, layers: !!set {0, 1}}}"), "field 'arms': {0, 1} is neither text, a nu"),
    "not a number": (_arms("{s: {method: sft, epochs: .nan}}"), "field 'arms': nan is not a number to work with."),
    "huge": (GOOD.replace("5", "9" * 40), "field 'test': a whole number is too large."),
    "control character": ("models: [cued]\ntask: \x01\n", "not valid YAML: unacceptable character #x0001"),
    "seeds as text": (GOOD + "seeds: '3'\n", "field 'seeds': '3': Input should be a valid integer."),
    "negative": (GOOD.replace("5", "-1"), "field 'test': -1: Input should be greater than or equal to 1."),
    "not whole": (GOOD.replace("5", "1.5"), "field 'test': 1.5: Input should be a valid integer"),
    "yes": (GOOD + "samples: yes\n", "field 'samples': True: expected a number of samples, or {n: 256, problems: 64, "),
    "samples text": (GOOD + "samples: many\n", "field 'samples': 'many': expected a number of samples, or {n: "),
    "samples below": (GOOD + "samples: -1\n", "field 'samples.n': -1: Input should be greater than or equal to 0."),
    "control's options": (
        _arms("{grpo: {method: grpo, steps: 64}, grpo/random: {method: grpo_random_reward, steps: 32}}"),
        "arm 'grpo/random' is a control of 'grpo', but its steps is 32, its parent's 64. Type: steps: 64",
    ),
    "samples field": (
        GOOD + "samples: {n: 4, problem: 2}\n",
        "unknown field of samples 'problem'. Did you mean 'problems'? Known: arms, n, problems.",
    ),
    "samples n": (GOOD + "samples: {problems: 2}\n", "samples: n is missing. Type: samples: {n: 256, problems: 64}"),
    "samples problems": (
        GOOD + "samples: {n: 4, problems: 6}\n",
        "samples: problems is 6, but only 5 are tested (test).",
    ),
    "samples no problems": (
        GOOD + "samples: {n: 4, problems: 0}\n",
        "field 'samples.problems': 0: Input should be greater than or equal to 1.",
    ),
    "samples arm": (
        GOOD + "samples: {n: 4, arms: [bas]}\n",
        "samples: unknown arm 'bas'. Did you mean 'base'? Known: base.",
    ),
    "samples arm twice": (GOOD + "samples: {n: 4, arms: [base, base]}\n", "samples: the arm 'base' comes twice."),
    "samples no arms": (GOOD + "samples: {n: 4, arms: []}\n", "arms of samples must be a list with at least one arm"),
    "dtype": (GOOD + "dtype: float61\n", "field 'dtype': 'float61': Input should be 'auto', 'float32', 'bfloat16' or"),
    "device": (GOOD + "device: tpu\n", "field 'device': 'tpu': String should match pattern"),
    "model twice": ("models: [a/cued, b/cued]\ntask: addition\narms: [base]\n", "the name 'cued' comes twice; give a"),
    "arm twice": (_arms("[base, base]"), "the name 'base' comes twice"),
    "no arms": (_arms("{}"), "a comparison needs at least one model and one arm."),
    "model": ("models: [cud]\ntask: addition\narms: [base]\n", "unknown model 'cud'. Did you mean 'cued'? Known: "),
    "model folder": ("models: {m: ./no}\ntask: addition\narms: [base]\n", "/no does not exist."),
    "task": (GOOD.replace("addition", "adition"), "task: unknown task 'adition'. Did you mean 'addition'? Known: "),
    "task parameter": (GOOD.replace("addition", "{task: addition, digit: 2}"), "unknown parameter of task 'addition' "),
    "task range": (
        GOOD.replace("addition", "{task: mod_chain, steps: [6, 3]}"),
        "the first must not exceed the second",
    ),
    "too many problems": (GOOD.replace("5", "999999"), "different problems were asked for, but only"),
    "off target": (
        GOOD + "off_target: [mod_chian]\n",
        "off_target 'mod_chian': unknown task 'mod_chian'. Did you mean ",
    ),
    "both targets": (GOOD + "off_target: [addition]\n", "'addition' is the target task; it cannot be off target too."),
    "task list": (
        GOOD.replace("addition", "{task: [addition]}"),
        "task: no task given. Type: {task: NAME}. See: elici",
    ),
    "method": (
        _arms("{s: {method: stf}}"),
        "arm 's': unknown method 'stf'. Did you mean 'sft'? Known: ablate_feature, adapter, ",
    ),
    "no method": (
        _arms("{s: {demonstrations: 4}}"),
        "arm 's': no method given. Type: s: {method: NAME}. See: elicit l",
    ),
    "method field": (
        _arms("{s: {method: sft, demonstration: 4}}"),
        "arm 's': unknown field of method 'sft' 'demonstration'. Did you mean 'demonstrations'? Known: batch_size, ",
    ),
    "field type": (
        _arms("{m: {method: mean_steering, strengths: abc}}"),
        "arm 'm': method 'mean_steering', field 'strengths': 'abc': Input should be a valid tuple.",
    ),
    "field choice": (_arms("{s: {method: sft, parameters: heads}}"), "field 'parameters': 'heads': Input should be "),
    "field range": (_arms("{s: {method: sft, epochs: 0}}"), "arm 's': sft: epochs is 0.0; expected a number above 0."),
    "field text nan": (_arms("{s: {method: sft, epochs: 'inf'}}"), "method 'sft', field 'epochs': inf is not a number"),
    "positions": (
        _arms("{m: {method: mean_steering, positions: fist}}"),
        "positions: 'fist' is not a position form. Expected one of: all, ",
    ),
    "contrast": (_arms("{m: {method: mean_steering, contrast: templates}}"), "`positive` belongs to contrast: templat"),
    "needs": (
        _arms("{base: {method: base}, r: {method: random_vector, parent: bse}}"),
        "arm 'r' needs another arm: unknown arm 'bse'. Did you mean 'base'? Known: base, r.",
    ),
    "circle": (
        _arms("{a: {method: random_vector, parent: b}, b: {method: same_vector, parent: a}}"),
        "arms need each other in a circle: a -> b -> a.",
    ),
    "own parent": (_arms("{a: {method: same_vector, parent: a}}"), "arms need each other in a circle: a -> a."),
    "arm name": (_arms("{../up: {method: base}}"), "arm name '../up' is not usable as a folder name. Use letters, "),
    "arm number": (_arms("{1: {method: base}}"), "field 'arms.1.[key]': 1: Input should be a valid string."),
    "no file": (GOOD.replace("addition", "{task: jsonl, path: no.jsonl}"), "task file 'no.jsonl' does not exist."),
    "no path": (GOOD.replace("addition", "jsonl"), "task 'jsonl': path is missing; give the file of problems"),
}


@pytest.mark.parametrize("case", SPECS)
def test_bad_specs(tmp_path: Path, case: str) -> None:
    text, said = SPECS[case]
    spec = write_spec(tmp_path, text)
    message = _refused("run", spec, "--out", tmp_path / "run")
    assert said in message
    if case not in ("model", "model folder", "too many problems"):  # these are not faults of the text
        assert str(spec) in message
    assert not (tmp_path / "run").exists()


def test_a_float_may_be_written_as_yaml_reads_it(tmp_path: Path) -> None:
    """YAML 1.1 takes `1e-3` for text."""
    spec = write_spec(tmp_path, _arms("{s: {method: sft, learning_rate: 1e-3}}"))
    done = elicit("run", spec, "--out", tmp_path / "run", "--plan")
    assert (done.code, done.err) == (0, "")
    assert not (tmp_path / "run").exists()


JSONL = {
    "not json": ('{"prompt": "a", "answer": "1"}\n{"prompt": "b", \n', "1 bad line: line 2: not JSON ("),
    "a list": ("[1]\n", "line 1: a list, not an object"),
    "field": (
        '{"prompt": "a", "anser": "1"}\n',
        "line 1: unknown field 'anser'. Did you mean 'answer'? Known: prompt,",
    ),
    "missing": ('\n\n{"prompt": "a"}\n', "line 3: 'answer' is missing"),
    "twice": ('{"prompt": "a", "answer": "1"}\n' * 2, "line 2: duplicate id "),
    "nan": ('{"prompt": "a", "answer": NaN}\n', "line 1: NaN is not a number in JSON"),
    "empty": ("", "is empty; expected one problem a line: "),
    "few": ('{"prompt": "a", "answer": "1"}\n', "different problems were asked for, but only "),
}


@pytest.mark.parametrize("case", JSONL)
def test_bad_files_of_problems(tmp_path: Path, case: str) -> None:
    text, said = JSONL[case]
    (tmp_path / "mine.jsonl").write_text(text)
    spec = write_spec(tmp_path, GOOD.replace("addition", "{task: jsonl, path: mine.jsonl}"))
    assert said in _refused("run", spec, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_spec_files(tmp_path: Path) -> None:
    binary, big = tmp_path / "model.safetensors", tmp_path / "big.yaml"
    binary.write_bytes(b"\x93\x00\xff" * 100)
    big.write_bytes(b"# " + b"x" * (1 << 20))
    assert _refused("run", tmp_path / "no.yaml").startswith(f"no spec at {tmp_path}/no.yaml. Try: elicit run exper")
    assert _refused("run", tmp_path) == f"{tmp_path} cannot be read: Is a directory."
    assert _refused("run", binary) == f"{binary}: byte 0 is not UTF-8 text."
    assert _refused("run", big) == f"{big} is larger than 256 KiB; that is not a comparison spec."
    assert _refused("run", "/dev/zero") == "/dev/zero is larger than 256 KiB; that is not a comparison spec."
    assert "no spec at two lines.yaml." in _refused("run", "two\nlines.yaml")
    assert "File name too long" in _refused("run", "x" * 300)
    assert "embedded null byte" in _refused("run", "x\0y")


def test_bad_options(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, GOOD)
    assert _refused("run", spec, "--limit", 0) == "--limit is 0; expected at least 1."
    assert _refused("run", spec, "--workers", -2) == "--workers is -2; expected at least 1."
    said = _refused("run", spec, "--arms", "bse", "--out", tmp_path / "run")
    assert said == "--arms: unknown arm 'bse'. Did you mean 'base'? Known: base."
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    before = content(foreign)
    said = _refused("run", write_spec(tmp_path, GOOD), "--out", foreign)
    assert said == f"{foreign} is not a run directory and not empty. Name another folder with --out."
    assert content(foreign) == before


@pytest.mark.parametrize("damage", ["models: [", "- a list\n", "models: 3\n", ""])
def test_a_damaged_run_directory_is_left_alone(tmp_path: Path, damage: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "spec.yaml").write_text(damage)
    before = content(run)
    assert f"{run}/spec.yaml" in _refused("run", write_spec(tmp_path, GOOD), "--out", run)
    assert content(run) == before


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    """The super-user may write anywhere, so these are places where nobody can."""
    spec, file = write_spec(tmp_path, GOOD), tmp_path / "file"
    file.write_text("mine")
    assert _refused("run", spec, "--out", file) == f"{file} is a file. Name another folder with --out."
    for target, reason in [
        (file / "below", "Not a directory"),
        (Path("/proc/elicit"), "No such file or directory"),
        (Path("/dev/null/run"), "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ]:
        said = _refused("run", spec, "--out", target)
        assert said.startswith(f"cannot write {target}")
        assert f": {reason}. Name a folder that you may write to with --out." in said
    assert file.read_text() == "mine"


def test_other_verbs(tmp_path: Path) -> None:
    done = elicit("rnu")
    assert (done.code, done.err) == (2, "elicit: unknown verb 'rnu'. Did you mean 'run'? See: elicit --help\n")
    for verb in ("report", "verify"):
        assert "Is " in (said := _refused(verb, tmp_path)) or "not a run directory" in said
    assert "unknown model 'cude'. Did you mean 'cued'? " in _refused("sample", "cude", "Q:1+1\nA:")
    assert "is not in the local cache (nothing is downloaded unless" in _refused("sample", "org/name", "Q")
    assert "--strength and --positions need --steer." in _refused("sample", "cued", "Q", "--strength", 1)
    assert "expected feature:SAE/NUMBER" in _refused("sample", "cued", "Q", "--steer", "feature:x")
    assert "no token for: '¿'" in _refused("sample", "cued", "Q:¿\nA:")
    assert "the tokenizer of cued has no chat template." in _refused("sample", "cued", "Q", "--chat")
    assert "--system needs --chat." in _refused("sample", "cued", "Q", "--system", "Be kind.")
    assert "Type a layer from 0 to 2." in _refused("sample", "cued", "Q", "--steer", "random:L9")
    assert "unknown dtype 'int8'." in _refused("sample", "cued", "Q", "--dtype", "int8")
    assert "unknown device 'tpu'." in _refused("sample", "cued", "Q", "--device", "tpu")
    assert "Did you mean 'cued'?" in _refused("organism", "train", "cude")


def test_what_the_parser_refuses_exits_with_2(tmp_path: Path) -> None:
    for arguments in (["run"], ["run", "a", "--limit", "many"], ["ls", "modles"], ["verify", "a", "b"]):
        done = elicit(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "Traceback" not in done.err


def test_a_missing_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "m.gguf", llama())
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setenv("ELICIT_CACHE", str(tmp_path / "cache"))
    said = _refused("sample", tmp_path / "m.gguf", "Q")
    assert said == (
        "Reading m.gguf needs the package 'gguf', which is not installed. Type: pip install 'elicit-reasoning[gguf]'"
    )


PROCESSES = [
    (["rnu"], "elicit: unknown verb 'rnu'. Did you mean 'run'? See: elicit --help"),
    (["run", "{none}"], "elicit run: no spec at {none}. Try: elicit run experiments/quickstart.yaml"),
    (["run", "{spec}", "--arms", "x"], "elicit run: --arms: unknown arm 'x'. Known: base."),
    (["run", "{spec}", "--out", "{spec}"], "elicit run: {spec} is a file. Name another folder with --out."),
    (["run", "{spec}", "--out", "/proc/x"], "elicit run: cannot write /proc/x"),
    (["run", "{spec}", "--limit", "-3"], "elicit run: --limit is -3; expected at least 1."),
    (["run", "{bad}"], "elicit run: {bad}, line 5: not valid YAML: 'test' is given twice."),
    (["verify", "{none}"], "elicit verify: {none}"),
    (["report", "{none}"], "elicit report: {none}"),
    (["sample", "./nowhere", "Q"], "elicit sample: ./nowhere does not exist."),
    (["sample", "cud", "Q"], "elicit sample: unknown model 'cud'. Did you mean 'cued'?"),
    (["organism", "train", "cud"], "elicit organism: unknown organism 'cud'. Did you mean 'cued'?"),
]


@pytest.mark.slow
def test_the_same_as_processes(tmp_path: Path) -> None:
    """What a shell sees: code 2, nothing on stdout, one line on stderr and never a traceback."""
    places = {
        "spec": str(write_spec(tmp_path, GOOD)),
        "bad": str(write_spec(tmp_path, GOOD + "test: 6\n", "bad.yaml")),
        "none": str(tmp_path / "none"),
    }
    options = {"env": {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, "cwd": tmp_path / "elsewhere"}
    lines = [[argument.format(**places) for argument in arguments] for arguments, _ in PROCESSES]
    begun = [start(*line, **options) for line in lines]
    for process, line, (_, said) in zip(begun, lines, PROCESSES, strict=True):
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out) == (2, ""), (line, err)
        assert err.count("\n") == 1, err
        assert err.startswith(said.format(**places)), err

"""`elicit sae features` through the real command line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.support.comparisons import elicit, reference


def test_the_table_on_stdout_and_the_csv_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "features.csv"
    done = elicit("sae", "features", "cued/L1", "--problems", 40, "--top", 3, "--csv", path)
    assert done.code == 0, done.err
    table = pd.read_csv(path, index_col="feature")
    assert len(table) == 512
    first = int(table["contrast"].idxmax())
    assert table.loc[first, "rank_contrast"] == 1
    lines = done.out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("feature"))
    assert lines[head].split() == [
        "feature", "density", "cue", "plain", "contrast", "auroc", "probe", "attribution", "patching", "dla",
    ]  # fmt: skip
    cells = lines[head + 1].split()
    assert cells[0] == str(first)
    assert cells[3:5] == [f"{table.loc[first, 'contrast']:.3g}", "#1"]
    assert not lines[head + 4].strip()[:1].isdigit()  # three features, as asked
    assert "cue (40 tokens of 40 spans) against plain (40 of 40), addition, split train, seed 0" in done.out
    assert "agreement over" in done.out
    assert "512 features ->" in done.err
    assert elicit("sae", "features", "cued/L1", "--problems", 40, "--top", 3).out == done.out


@pytest.mark.parametrize(
    ("between", "said"),
    [
        ("trace", "trace ("),
        ("correct", "show a trace: where these differ, features of form come first"),
        ("continuations", "worked (30 tokens of 30 spans) against direct (30 of 30)"),
    ],
)
def test_other_conditions(between: str, said: str) -> None:
    arguments = ["--problems", 30, "--between", between, "--scorers", "contrast", "auroc", "--top", 2]
    done = elicit("sae", "features", "cued/L1", *arguments)
    assert done.code == 0, done.err
    assert said in done.out


def test_traces_and_answers_are_told_apart_where_they_meet() -> None:
    """The answer of a cued worked solution is its last tokens, from the mark on."""
    import elicit as lab
    from elicit.cli.sae_conditions import build_conditions
    from elicit.comparison.spec import build_task

    model = lab.load("cued")
    task = build_task({"task": "addition"}, model.card["dialect"], where="test")
    problems = task.problems("train", 10)
    found = build_conditions("trace", model, task, problems, samples=1, seed=0, policy=None)
    for problem, trace, answer in zip(problems, found.positive, found.negative, strict=True):
        assert trace.ids == answer.ids
        text = [model.tokenizer.decode(list(span.ids[span.start : span.stop])) for span in (trace, answer)]
        assert text[1] == task.direct(problem)
        assert trace.stop == answer.start
        assert tuple(trace.ids[: trace.start]) == model.encode(problem.prompt)


def test_a_trained_policy_against_its_base() -> None:
    cells = reference() / "cells" / "cued"
    arguments = ["--problems", 30, "--between", "policy", "--scorers", "contrast", "dla", "--top", 2]
    done = elicit("sae", "features", "cued/L1", *arguments, "--policy", cells / "sft" / "0" / "policy")
    assert done.code == 0, done.err
    assert "policy (30 tokens of 30 spans) against base (30 of 30)" in done.out
    contrasts = [line.split()[3] for line in done.out.splitlines() if line.strip()[:1].isdigit()]
    assert float(contrasts[0]) > 0.01  # training moved something
    steered = elicit("sae", "features", "cued/L1", *arguments, "--policy", cells / "mean_steering" / "0" / "policy")
    assert steered.code == 2
    assert "steers; expected a policy with trained weights and nothing else." in steered.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cued/L1", "--between", "policy"], "--policy FOLDER and --between policy belong together"),
        (["cued/L1", "--problems", 0], "--problems is 0; expected at least 1."),
        (["cued/L1", "--scorers", "contrst"], "unknown scorer 'contrst'. Did you mean 'contrast'?"),
        (["cued/L1", "--task", "additoin"], "unknown task 'additoin'. Did you mean 'addition'?"),
        (["cued/L11"], "unknown SAE 'cued/L11'. Did you mean 'cued/L1'?"),
        (["cued/L1", "--words", "zz", "--problems", 5], "none of the words occurs in the 10 counted tokens"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[object], message: str) -> None:
    done = elicit("sae", "features", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""

"""Critique fine-tuning trains on critiques and nothing else; its baselines on the same problems, token for token."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import trl

from elicit.errors import ElicitError
from elicit.fitting.critique_data import (
    CritiqueSelection,
    evaluate_critiques,
    fill_critique_template,
    parse_critique_verdict,
)
from elicit.methods.catalog import configure_method
from elicit.methods.controls.same_solutions import SameSolutions
from elicit.methods.finetuning.critique import Critique
from elicit.methods.finetuning.sft import SFT
from elicit.model import BaseModel, load
from elicit.policy import Policy
from elicit.sampling import Decoding
from elicit.tasks import get
from tests.support.models import tiny_model

TASK = get("addition")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """(ids, labels) of every row of every step, without padding."""
    seen: list[list[tuple[tuple[int, ...], tuple[int, ...]]]] = []
    compute = trl.SFTTrainer.compute_loss

    def recorded(self: Any, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **options: Any) -> Any:
        rows = []
        for ids, labels, mask in zip(inputs["input_ids"], inputs["labels"], inputs["attention_mask"], strict=True):
            assert set(labels[mask == 0].tolist()) <= {-100}
            rows.append((tuple(ids[mask == 1].tolist()), tuple(labels[mask == 1].tolist())))
        seen.append(rows)
        return compute(self, model, inputs, *args, **options)

    monkeypatch.setattr(trl.SFTTrainer, "compute_loss", recorded)
    return seen


def _row(base: BaseModel, prompt: str, completion: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A row as it should be, by hand."""
    given, wanted = base.encode(prompt), (*base.continuation(completion), base.tokenizer.eos_token_id)
    return (*given, *wanted), (*[-100] * len(given), *wanted)


def _labelled(steps: list[list[Any]]) -> int:
    return sum(label != -100 for rows in steps for _, labels in rows for label in labels)


def test_trained_on_critiques_and_on_nothing_else(steps: list[Any]) -> None:
    base = tiny_model()
    policy = Critique(problems=6, candidates=2, epochs=2, batch_size=4, held_out=0).fit(base, TASK, seed=5, needs={})
    expected: Counter[Any] = Counter()
    for problem in TASK.problems("train", 6, seed=6):
        found: dict[str, str] = {}
        for seed in range(60):
            noisy = TASK.noisy(problem, seed)
            assert noisy is not None
            if len(found) < 2:
                found.setdefault(noisy.text, noisy.critique)
        for candidate, critique in found.items():
            expected[_row(base, f"{problem.prompt}{candidate}\nCritique:\n", critique)] += 2
    assert Counter(row for rows in steps for row in rows) == expected
    train = policy.record["train"]
    assert train["completion_tokens"] == _labelled(steps)
    assert train["tokens"] == sum(len(ids) for rows in steps for ids, _ in rows)
    assert (train["labels"], train["steps"], train["generated_tokens"]) == (6, 6, 0)
    assert train["teacher_tokens"] == _labelled(steps) / 2
    assert policy.prompting.template == "{prompt}"  # at test time the question is asked as ever
    json.dumps(policy.record, allow_nan=False)


def test_one_problem(steps: list[Any]) -> None:
    base = tiny_model()
    policy = Critique(problems=1, candidates=20, epochs=1, held_out=0).fit(base, TASK, seed=0, needs={})
    prompts = {ids[: labels.count(-100)] for rows in steps for ids, labels in rows}
    asked = base.encode(TASK.problems("train", 1, seed=1)[0].prompt)
    assert len(prompts) == 20
    assert {prompt[: len(asked)] for prompt in prompts} == {asked}
    assert (policy.record["train"]["labels"], policy.record["critique"]["critiques"]) == (1, 20)


_REMARKS, _WORKED = {"problems": 12}, {"problems": 3, "candidates": 4, "form": "worked"}


@pytest.mark.parametrize(
    ("solutions", "options"),
    [
        ("right", _WORKED),
        ("candidates", _REMARKS),
        ("verified", _WORKED),
        pytest.param("right", _REMARKS, marks=pytest.mark.slow),
        pytest.param("candidates", _WORKED, marks=pytest.mark.slow),
        pytest.param("verified", _REMARKS, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_baseline_is_matched_token_for_token(steps: list[Any], solutions: Any, options: dict[str, Any]) -> None:
    """Same problems, same rate and batch; no other number of steps comes nearer to the critics' tokens."""
    base = tiny_model()
    parent = Critique(epochs=4, batch_size=5, held_out=0, learning_rate=3e-4, **options).fit(
        base, TASK, seed=2, needs={}
    )
    wanted = _labelled(steps)
    rows = CritiqueSelection(
        options["problems"], options.get("candidates", 1), None, options.get("form", "remark"), 2
    ).load_train_critiques(TASK)
    steps.clear()
    policy = SameSolutions(solutions=solutions).fit(base, TASK, seed=2, needs={"critique": parent})
    pairs = {
        "right": [_row(base, one.problem.prompt, str(TASK.worked(one.problem))) for one in rows],
        "candidates": [_row(base, one.problem.prompt, one.candidate) for one in rows],
        "verified": [_row(base, one.problem.prompt, one.candidate) for one in rows if one.correct],
    }[solutions]
    assert {row for batch in steps for row in batch} == set(pairs)
    got, last = _labelled(steps), _labelled(steps[-1:])
    assert abs(got - wanted) <= last / 2 + max(len(labels) for _, labels in pairs)
    assert policy.record["train"]["completion_tokens"] == got
    assert policy.record["matched"]["completion_tokens"] == wanted
    assert policy.record["learning_rate"] == parent.record["learning_rate"] == 3e-4
    assert {len(batch) for batch in steps} == {min(5, len(pairs))}
    assert policy.record["train"]["teacher_tokens"] == (
        sum(len(labels) - labels.count(-100) for _, labels in set(pairs)) if solutions == "right" else 0
    )


def test_a_baseline_needs_a_critic() -> None:
    base = tiny_model()
    other = SFT(demonstrations=2, epochs=1).fit(base, TASK, seed=0, needs={})
    with pytest.raises(ElicitError, match=r"^same_solutions: its parent 'sft' is not a critique arm\."):
        SameSolutions(parent="sft").fit(base, TASK, seed=0, needs={"sft": other})


# --- a teacher's file --------------------------------------------------------------------------------------------


def test_a_teachers_file(tmp_path: Path, steps: list[Any]) -> None:
    base, problems = tiny_model(), TASK.problems("train")[:3]
    lines = [{"id": p.id, "candidate": f"so #{i}", "critique": f"No, {p.answer}"} for p in problems for i in range(2)]
    lines.append({"prompt": TASK.problems("test")[0].prompt, "candidate": "x", "critique": "must not be seen"})
    path = tmp_path / "teacher.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = Critique(critiques=str(path), template="{prompt}{candidate}\nWhat is wrong?\n", epochs=1)
    policy = config.fit(base, TASK, seed=0, needs={})
    expected = Counter(
        _row(base, f"{p.prompt}so #{i}\nWhat is wrong?\n", f"No, {p.answer}") for p in problems for i in range(2)
    )
    assert Counter(row for rows in steps for row in rows) == expected
    said = policy.record["critique"]
    assert (said["by"], said["problems"], said["critiques"], said["held_out"]) == ("file", 3, 6, None)
    with pytest.raises(ElicitError, match=r"9 problems were asked for, but .* has critiques of 3 train problems"):
        Critique(problems=9, critiques=str(path)).fit(base, TASK, seed=0, needs={})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"template": "{prompt}"}, r"critique: template has 0 times \{candidate\}; expected one\."),
        ({"critiques": "x.jsonl", "form": "worked"}, r"form are for critiques that a program writes, not for a file"),
        ({"parameters": "embeddings", "lora_rank": 2}, r"critique: a LoRA adapter cannot be put on embeddings"),
        ({"problems": 0}, r"critique: problems is 0; expected a number above 0"),
        ({"candidate": 2}, r"unknown field of method 'critique' 'candidate'\. Did you mean 'candidates'\?"),
    ],
)
def test_bad_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ElicitError, match=said):
        configure_method("critique", options)


def test_a_task_without_candidates(tmp_path: Path) -> None:
    path = tmp_path / "bare.jsonl"
    path.write_text("".join(f'{{"prompt": "{i}+1=", "answer": "{i + 1}"}}\n' for i in range(60)))
    with pytest.raises(ElicitError, match=r"it has 0\. Ask for fewer candidates, add `noisy` to the task's file"):
        Critique().fit(tiny_model(), get("jsonl", path=str(path)), seed=0, needs={})


# --- judging critiques -------------------------------------------------------------------------------------------


def test_what_a_critique_says() -> None:
    assert parse_critique_verdict("step 2: 3+5 is 08, not 18. verdict: wrong") is False
    assert parse_critique_verdict("so verdict: wrong? No. verdict:  right.") is True
    assert parse_critique_verdict("verdict: wrongly put") is None
    assert parse_critique_verdict("right") is None


def test_a_perfect_critic_is_judged_perfect_and_a_constant_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    base = load("cued")
    rows = CritiqueSelection(None, 1, None, "remark", 0).load_held_out_critiques(TASK, 40)
    assert {one.problem.id for one in rows} == {problem.id for problem in TASK.problems("select", 40)}
    template = "{prompt}{candidate}\nCritique:\n"
    said = {base.encode(fill_critique_template(template, one)): one.critique for one in rows}

    def answering(texts: Any) -> Any:
        def generate(engine: Any, requests: Any, decoding: Decoding) -> Any:
            from elicit.sampling import Completion

            assert decoding.temperature == 0
            return [[Completion((1,), texts(request.ids), "eos", (0.0,), 1, 0)] for request in requests]

        return generate

    import elicit.sampling

    policy = Policy(base)
    monkeypatch.setattr(elicit.sampling, "generate", answering(lambda ids: f" {said[ids]}"))
    perfect = evaluate_critiques(policy, rows, template)
    assert perfect is not None
    assert [perfect[name]["value"] for name in ("verdicts", "verdicts_on_right", "exact")] == [1.0, 1.0, 1.0]
    monkeypatch.setattr(elicit.sampling, "generate", answering(lambda ids: "verdict: wrong"))
    constant = evaluate_critiques(policy, rows, template)
    assert constant is not None
    wrong = sum(not one.correct for one in rows)
    assert constant["verdicts"] == constant["always_wrong"]
    assert constant["verdicts"]["value"] == pytest.approx(wrong / 40)
    assert (constant["verdicts_on_right"]["value"], constant["verdicts_on_wrong"]["value"]) == (0.0, 1.0)
    assert constant["exact"]["value"] == 0.0


def test_the_base_is_judged_before_training_and_not_after() -> None:
    """Against the base judged alone; and the trained critic differs from it."""
    base = load("cued")
    critique = Critique(problems=8, epochs=20, held_out=12)
    record = critique.fit(base, TASK, seed=0, needs={}).record["critique"]
    rows = CritiqueSelection(None, 1, None, "remark", 0).load_held_out_critiques(TASK, 12)
    alone = evaluate_critiques(Policy(base, Decoding(stop=TASK.stop)), rows, critique.template)
    assert alone is not None
    assert record["held_out_before"] == alone
    assert record["held_out"]["example"]["critique"] != alone["example"]["critique"]


@pytest.mark.slow
def test_where_the_critique_begins_decides_whether_answers_change() -> None:
    """On `cued`, the same critiques change direct answers only if they begin where answers begin."""
    base, test = load("cued"), TASK.problems("test", 100)

    def traces(template: str) -> float:
        options: dict[str, Any] = {"problems": 64, "form": "worked", "held_out": 0}
        policy = Critique(template=template, **options).fit(base, TASK, seed=0, needs={})
        answers = policy.answer(test, TASK, label="addition", seed=0)
        return sum(TASK.verify(p, a.text).has_trace for p, a in zip(test, answers, strict=True)) / 100

    assert traces("{prompt}{candidate}\nCritique:\n") < 0.1
    assert traces("{candidate}\n{prompt}") > 0.9

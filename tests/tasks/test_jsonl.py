"""A user's own file: what is read, what is judged right, and what is said about a bad line."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elicit.errors import ElicitError
from elicit.tasks import Noisy, Verdict, get
from elicit.tasks.answers.free_text import TextReader, normalize_decimal, normalize_text
from elicit.tasks.core import SPLITS, Problem, content_id, split_of
from elicit.tasks.datasets.jsonl import load_jsonl
from elicit.tasks.datasets.record_task import RecordTask

GOOD = {"prompt": "2+2?", "answer": "4"}


def write(folder: Path, *lines: object) -> Path:
    """A file of these lines: bytes and text as they are, anything else as JSON."""
    path = folder / "mine.jsonl"
    raw = [line if isinstance(line, bytes) else text_of(line).encode() for line in lines]
    path.write_bytes(b"\n".join(raw))
    return path


def text_of(line: object) -> str:
    return line if isinstance(line, str) else json.dumps(line)


def only(task: RecordTask) -> Problem:
    """The problem of a file with one line, wherever it landed."""
    return next(task.problems(split)[0] for split in SPLITS if not fails(task, split))


def fails(task: RecordTask, split: str) -> bool:
    try:
        task.problems(split)
    except ElicitError:
        return True
    return False


def message(path: object, **options: object) -> str:
    with pytest.raises(ElicitError) as error:
        load_jsonl(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- reading -------------------------------------------------------------------------------------------------------


def test_every_field_arrives(tmp_path: Path) -> None:
    noisy = {"text": "2+2=5", "critique": "2+2 is 4. verdict: wrong", "correct": False}
    line = GOOD | {"id": 7, "group": "sums", "cue_prompt": "Think: 2+2?", "worked": "2+2=4", "noisy": noisy}
    task = get("jsonl", path=write(tmp_path, line), template="<user>{prompt} {x}", stop="\n", max_new_tokens=9)
    problem = only(task)
    assert (task.name, task.stop, task.max_new_tokens, task.answer_space) == ("mine", ("\n",), 9, None)
    assert (problem.id, problem.group, problem.answer) == ("7", "sums", "4")
    assert (problem.prompt, problem.cue_prompt) == ("<user>2+2? {x}", "<user>Think: 2+2? {x}")
    assert (task.worked(problem), task.direct(problem)) == ("2+2=4", "4")
    assert task.noisy(problem) == Noisy("2+2=5", False, None, None, "2+2 is 4. verdict: wrong")
    assert pickle.loads(pickle.dumps(task)) == task
    assert len(repr(task)) < 200


def test_a_bare_candidate_gets_a_critique(tmp_path: Path) -> None:
    for candidate, noisy in {
        "It is 5": Noisy("It is 5", False, "answer", None, "answer: 4, not 5. verdict: wrong"),
        "It is 4": Noisy("It is 4", True, None, None, "the answer is right. verdict: right"),
        "dunno": Noisy("dunno", False, "answer", None, "answer: 4, not this. verdict: wrong"),
    }.items():
        task = load_jsonl(write(tmp_path, GOOD | {"noisy": candidate}))
        assert task.noisy(only(task)) == noisy
    task = load_jsonl(write(tmp_path, GOOD | {"noisy": None, "worked": None}))
    assert (task.noisy(only(task)), task.worked(only(task))) == (None, None)


def test_what_editors_do_to_files_is_harmless(tmp_path: Path) -> None:
    plain = load_jsonl(write(tmp_path, GOOD, GOOD | {"prompt": "é"}))
    other = load_jsonl(
        write(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r", b"", '{"prompt":"é","answer":4}\r\n')
    )
    assert plain == other


def numbered(count: int, **extra: object) -> list[dict]:
    return [{"prompt": f"{i}+1?", "answer": str(i + 1), "id": i} | extra for i in range(count)]


def test_splits_and_orders(tmp_path: Path) -> None:
    """Every problem is in the split of its id; file order, template and later lines change nothing."""
    lines = numbered(300)
    task = load_jsonl(write(tmp_path, *lines))
    pools = {split: [p.id for p in task.problems(split)] for split in SPLITS}
    assert sorted(int(i) for pool in pools.values() for i in pool) == list(range(300))
    assert all(split_of(i) == split for split, pool in pools.items() for i in pool)
    assert 210 < len(pools["train"]) < 270
    shuffled = load_jsonl(write(tmp_path, *reversed(lines)), template="Q {prompt}", name="other")
    assert [p.id for p in shuffled.problems("train")] == pools["train"]
    assert [p.id for p in task.problems("train", 5)] == pools["train"][:5]
    assert [p.id for p in task.problems("train", seed=1)] != pools["train"]
    assert {p.id for p in task.problems("train", seed=1)} == set(pools["train"])
    grown = load_jsonl(write(tmp_path, *numbered(400)))
    assert {p.id for p in grown.problems("test")} >= set(pools["test"])
    assert grown.prompts("test", 3) == [p.prompt for p in grown.problems("test", 3)]


def test_groups_are_not_divided(tmp_path: Path) -> None:
    lines = [line | {"group": f"g{i % 100}"} for i, line in enumerate(numbered(300))]
    task = load_jsonl(write(tmp_path, *lines))
    homes: dict[str | None, set[str]] = {}
    for split in SPLITS:
        for problem in task.problems(split):
            homes.setdefault(problem.group, set()).add(split)
    assert len(homes) == 100
    assert all(len(splits) == 1 for splits in homes.values())
    assert set.union(*homes.values()) == set(SPLITS)


def test_ids_come_from_prompts(tmp_path: Path) -> None:
    task = load_jsonl(write(tmp_path, GOOD))
    assert only(task).id == content_id("jsonl", "2+2?")
    twice = load_jsonl(write(tmp_path, GOOD | {"id": "a", "group": "g"}, GOOD | {"id": "b", "group": "g"}))
    assert len(twice.records) == 2


def test_too_few(tmp_path: Path) -> None:
    task = load_jsonl(write(tmp_path, *numbered(30)))
    found = len(task.problems("train"))
    with pytest.raises(ElicitError) as error:
        task.problems("train", 99)
    assert str(error.value) == (
        f"task 'mine', split 'train': 99 different problems were asked for, but only {found} could be found among the "
        f"file's 30 lines. Ask for at most {found}, or add lines to the file."
    )
    lonely = load_jsonl(write(tmp_path, GOOD))
    assert sum(fails(lonely, split) for split in SPLITS) == 2
    assert task.problems("train", 0) == []


# --- judging -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "completion", "answer"),
    [
        ("1000", "so it is 1,000.", "1000"),
        ("3", "x = 3.0", "3"),
        ("3.50", "$3.5", "3.5"),
        ("-5", "the sum is -5", "-5"),
        ("5", "10-5", "5"),
        ("-5", "that makes −5", "-5"),
        ("0.5", "about .5", "0.5"),
        ("0", "-0.0", "0"),
        ("7", "1. add 2. carry", "2"),
        ("7", "no idea", None),
        ("1234", "12,34", "34"),
        ("1", "v1,2345", "2345"),
        ("Paris", "I think\n\n  Paris \n\n", "Paris"),
        ("New  York", "New York", "New York"),
        ("Paris", "Paris.", "Paris."),
        ("Paris", " \n ", None),
        ("3/4", "it is\n3/4", "0.75"),
    ],
)
def test_reading_without_a_pattern(gold: str, completion: str, answer: str | None) -> None:
    assert TextReader(gold, None).extract_answer(completion) == answer


@pytest.mark.parametrize(
    ("gold", "completion", "answer"),
    [
        ("12", "3*4=12 #### 12", "12"),
        ("12", "#### 11\n#### 12.0\nthat was 99", "12"),
        ("12", "12", "12"),
        ("12", "it is 12", None),
        ("12", "#### ", None),
        ("Paris", "Paris", "Paris"),
        ("Paris", "#### New  York", "New York"),
        ("Paris", "a\nb", None),
    ],
)
def test_reading_with_a_pattern(gold: str, completion: str, answer: str | None) -> None:
    assert TextReader(gold, r"#### *(.+)").extract_answer(completion) == answer


def test_verdicts(tmp_path: Path) -> None:
    task = load_jsonl(write(tmp_path, GOOD | {"answer": 4.0}))
    problem = only(task)
    assert problem.answer == "4"
    assert task.verify(problem, "4") == Verdict("4", True, False, None)
    assert task.verify(problem, "The answer is 4.") == Verdict("4", True, False, None)
    assert task.verify(problem, "2+2=4, so 4") == Verdict("4", True, True, None)
    assert task.verify(problem, "Two and two. That is 5") == Verdict("5", False, True, None)
    assert task.verify(problem, "") == Verdict(None, False, False, None)


@given(st.decimals(-(10**20), 10**20, places=4), st.booleans())
def test_numbers_are_equal_when_decimals_are(value: Decimal, commas: bool) -> None:
    text = format(value, ",f" if commas else "f")
    short = normalize_decimal(text)
    assert short is not None
    assert Decimal(short) == value
    assert normalize_decimal(short) == short
    assert short == normalize_decimal(format(value.normalize(), "f"))


TEXT = st.text() | st.text(alphabet="0123456789.,-+ #=\n()aπ٣", max_size=200)


@settings(deadline=None)
@given(TEXT.filter(str.strip), TEXT, st.sampled_from([None, r"#(.*)", r"(\d+)", r"=\s*(-?[\d,.]+)", r"()"]))
def test_judging_is_total(gold: str, text: str, pattern: str | None) -> None:
    reader = TextReader(gold, pattern)
    answer = reader.extract_answer(text)
    assert answer is None or normalize_text(answer) == answer
    assert reader.has_trace(text) in (True, False)
    if pattern is None and not reader.explain_unusable_target():
        assert reader.extract_answer(gold) == reader.gold  # a direct answer is right


@pytest.mark.parametrize("text", ["1" * 10**6, "1," * 10**5, "-" * 10**6, "a\n" * 10**6, ". " * 10**6, "1 " * 10**6])
def test_long_completions_take_little_time(text: str) -> None:
    start = time.process_time()
    for reader in (TextReader("1", None), TextReader("Paris", None), TextReader("1", r"is\s*(-?[\d,]+)\s*$")):
        reader.extract_answer(text)
        reader.has_trace(text)
    assert time.process_time() - start < 2


def test_a_pattern_that_slips_through_is_stopped() -> None:
    """Not one of the texts tried at loading chokes this pattern, so the clock has to."""
    pattern = r"(?:(z+)+)$"
    start = time.process_time()
    assert TextReader("1", pattern).extract_answer("z" * 3000 + "!") is None
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(\d+", "not a regular expression (missing ), unterminated subpattern at position 0)"),
        (r"\d+", "expected one group (...) around the answer, found 0"),
        (r"(a)(b)", "expected one group (...) around the answer, found 2; use (?:...) elsewhere"),
        (r"(?:a+)+(b)", "it can backtrack without end; avoid a repeat within a repeat, such as (a+)+"),
        ("", "expected a regular expression of 1 to 500 characters"),
        ("(" + "a" * 500 + ")", "expected a regular expression of 1 to 500 characters"),
        (5, "answer_pattern is 5: expected a regular expression"),
    ],
)
def test_bad_patterns(tmp_path: Path, pattern: object, reason: str) -> None:
    assert reason in message(write(tmp_path, GOOD), answer_pattern=pattern)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=r"(){}[]|*+?.\dws1,2a:=!<>P^$-#&", max_size=14))
def test_any_pattern_is_taken_or_refused(tmp_path: Path, pattern: str) -> None:
    path = write(tmp_path, GOOD)
    try:
        task = load_jsonl(path, answer_pattern=pattern)
    except ElicitError:
        return
    task.verify(only(task), "a1=2 (1,2) a\n")


# --- bad files -----------------------------------------------------------------------------------------------------

BAD_LINES = [
    ("{", "not JSON (Expecting property name enclosed in double quotes at column 2)"),
    ("[" * 100_000, "not JSON (nested too deeply)"),
    ("[1]", "a list, not an object"),
    ("7", "the number 7, not an object"),
    (b'{"prompt": "\xff"}', "not UTF-8 (byte 13)"),
    ({"prompt": "x"}, "'answer' is missing"),
    ({"answer": "x"}, "'prompt' is missing"),
    ({"prompt": " ", "answer": "x"}, "'prompt' is empty"),
    ({"prompt": "x", "answer": ""}, "'answer' is empty"),
    ({"prompt": "x", "answer": True}, "'answer' is true; expected text"),
    ({"prompt": "x", "answer": None}, "'answer' is null; expected text"),
    ({"prompt": 3, "answer": "3"}, "'prompt' is the number 3; expected text"),
    ('{"prompt": "x", "answer": NaN}', "NaN is not a number in JSON"),
    ('{"prompt": "x", "answer": -Infinity}', "-Infinity is not a number in JSON"),
    ('{"prompt": "x", "answer": 1e999999999}', "'answer' is 1e999999999; expected a power of ten of at most 50"),
    ('{"prompt": "x", "answer": "1", "answer": "2"}', "field 'answer' is there twice"),
    ({"prompt": "x", "answer": "1", "anwser": "2"}, "unknown field 'anwser'. Did you mean 'answer'?"),
    ({"prompt": "x", "answer": "1", "worked": ["a"]}, "'worked' is a list; expected text"),
    ({"prompt": "x", "answer": "1", "worked": "so 2"}, "'worked' ends in '2', not in the answer '1'"),
    ({"prompt": "x", "answer": "a\nb"}, "'answer' has several lines, which needs an answer_pattern"),
    ({"prompt": "x", "answer": "a" * 2000}, "'answer' is longer than 1000 characters"),
    ({"prompt": "x", "answer": "1", "id": 1.5}, "'id' is the number 1.5; expected text or a whole number"),
    ({"prompt": "x", "answer": "1", "group": []}, "'group' is a list; expected text or a whole number"),
    ({"prompt": "x", "answer": "1", "noisy": 4}, "'noisy' is the number 4; expected text or an object"),
    ({"prompt": "x", "answer": "1", "noisy": {"text": "1"}}, "'noisy.correct' is null; expected true or false"),
    ({"prompt": "x", "answer": "1", "noisy": {"text": "1", "correct": True}}, "'noisy.critique' is missing"),
    ({"prompt": "x", "answer": "1", "noisy": {"txt": "1"}}, "unknown field of 'noisy' 'txt'. Did you mean 'text'?"),
    (
        {"prompt": "x", "answer": "1", "noisy": {"text": "so 2", "critique": "ok", "correct": True}},
        "'noisy' is called correct but ends in '2', not in the answer '1'",
    ),
    (r'{"prompt": "\ud800", "answer": "1"}', "'prompt' holds half a character (a lone surrogate)"),
    (GOOD | {"id": "1"}, "duplicate id '1' (line 1 has it"),
    (GOOD | {"id": 1}, "duplicate id '1' (line 1 has it"),
    (GOOD | {"id": "other"}, "same prompt as line 1 under another id; give both lines the same 'group'"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_bad_lines_are_named_by_number(tmp_path: Path, line: object, reason: str) -> None:
    path = write(tmp_path, GOOD | {"id": "1"}, "", line, GOOD | {"id": "9", "prompt": "last"})
    assert f"task file {str(path)!r}: 1 bad line: line 3: {reason}" in message(path)


def test_only_the_first_bad_lines_are_listed(tmp_path: Path) -> None:
    text = message(write(tmp_path, GOOD, *["{}"] * 8, GOOD | {"prompt": "y", "worked": "5"}))
    missing = "; ".join(f"line {i}: 'prompt' is missing" for i in (2, 3, 4))
    assert f"9 bad lines: {missing}; and 6 more. A line is " in text
    assert len(text) < 600


def test_bad_files(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert "is a directory; give a JSONL file in it." in message(tmp_path)
    assert message(tmp_path / "mine.json").endswith("does not exist. Did you mean 'mine.jsonl'?")
    assert message(tmp_path / "no" / "where.jsonl").endswith("where.jsonl' does not exist.")
    assert "path is None; expected the name of a JSONL file" in message(None)
    assert "expected the name of a JSONL file" in message("a\0b")
    assert "cannot be read" in message("x" * 5000)
    assert "is empty; expected one problem a line" in message(write(tmp_path, b"\n \n"))
    write(tmp_path, GOOD)
    assert "template is 'Q:'; expected text with {prompt} in it." in message(path, template="Q:")
    assert "stop is ['']; expected a list of texts" in message(path, stop=[""])
    assert "stop is 3; expected a list of texts" in message(path, stop=3)
    assert "max_new_tokens is 0; expected a whole number" in message(path, max_new_tokens=0)
    assert "name is ' '; expected text." in message(path, name=" ")


def test_the_catalogue_knows_the_options(tmp_path: Path) -> None:
    for options, reason in [
        ({}, "task 'jsonl': path is missing"),
        ({"path": "x", "patern": "x"}, "unknown parameter of task 'jsonl' 'patern'."),
        ({"path": "x", "answer_patern": "x"}, "Did you mean 'answer_pattern'?"),
    ]:
        with pytest.raises(ElicitError) as error:
            get("jsonl", **options)
        assert reason in str(error.value)


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
FIELD = st.sampled_from(["prompt", "answer", "id", "group", "cue_prompt", "worked", "noisy", "text", "critique"])
OBJECT = st.dictionaries(FIELD, VALUE, max_size=5).map(lambda d: json.dumps(GOOD | d).encode())
LINE = st.binary(max_size=30) | OBJECT | st.just(json.dumps(GOOD).encode())


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, max_size=4), st.sampled_from([None, r"(\d+)"]))
def test_any_file_is_a_task_or_an_error(tmp_path: Path, lines: list[bytes], pattern: str | None) -> None:
    path = write(tmp_path, *lines)
    try:
        task = load_jsonl(path, answer_pattern=pattern)
    except ElicitError:
        message(path, answer_pattern=pattern)
        return
    for split in SPLITS:
        if not fails(task, split):
            for problem in task.problems(split):
                task.verify(problem, task.direct(problem))
                noisy = task.noisy(problem)
                assert noisy is None or not noisy.correct or task.verify(problem, noisy.text).correct
                worked = task.worked(problem)
                assert worked is None or task.verify(problem, worked).correct


def test_tasks_import_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "trl", "plotly", "pandas"]
    code = (
        "import sys, elicit.tasks, elicit.tasks.datasets.jsonl, elicit.tasks.answers.free_text\n"
        "for name in elicit.tasks.catalog.FAMILIES: elicit.tasks.get(name)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

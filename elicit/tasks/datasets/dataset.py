"""Problems from a dataset: a file, a folder or a hub id, with its columns and splits mapped to the task's.

    task: dataset
    path: data/mine                 # .jsonl .json .csv .tsv .parquet .arrow, a folder, or a hub id (org/name)
    columns: {prompt: question, answer: final}
    splits: {train: train, test: test}
    format: gsm8k

A benchmark is the same with path, columns, splits and format filled in; see `benchmark`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.plugins import absolute_reference
from elicit.tasks.core import Split
from elicit.tasks.datasets import folders, formats, option_numbering, splitting, stop_strings
from elicit.tasks.datasets.benchmark import Benchmark, find_benchmark, list_benchmark_options
from elicit.tasks.datasets.column_mapping import check_columns, check_table, list_top_columns
from elicit.tasks.datasets.record_task import RecordTask
from elicit.tasks.datasets.tables import KIND, Table
from elicit.tasks.families.parameters import whole_parameter
from elicit.tasks.jsonl_fields import Row, absolute_path


def load_dataset(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    format: str = "text",
    splits: Mapping[str, str] | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    download: bool = False,
    drop: str | Sequence[str] = (),
    answer_pattern: str | None = None,
    reading: str | None = None,
    grader: str | None = None,
    count_from: int | None = None,
    read: str | None = None,
    template: str = "{prompt}",
    stop: str | Sequence[str] | None = None,
    max_new_tokens: int = 256,
    name: str | None = None,
) -> RecordTask:
    """Task made from a dataset.

    Args:
        path: a file, a folder (of `save_to_disk`, or of data files), or a hub id.
        columns: our fields (prompt, answer, id, group, cue_prompt, worked, theorem, choices) from the table's columns;
            see `column_mapping`. Default: columns of these names.
        format: how answers are written and read; see `formats`.
        splits: our splits (train, select, test) from the dataset's. Without `select`, a tenth of train (by hash).
        split: one split of the dataset, divided by hash. Default where the dataset has one split only.
        config, revision, download: for a hub id; without `download` only the local cache is used.
        drop: `duplicates` (equal prompts; test keeps its own) and `unusable` (rows that cannot be used). Default: both
            are errors. A warning gives the number of dropped rows, and so do the task's `notes`.
        answer_pattern: for format `text`: regular expression with one group that holds the answer; the last match.
        reading: for formats `gsm8k` (flexible, strict, last) and `math` (flexible, strict).
        grader: for format `math`: math_verify (needs the extra `tasks`) or text.
        count_from: for format `choice`: the place of the first option, 0 or 1, where right answers are places. Default:
            0 where the table has a 0, else an error.
        read: for format `text`: a reader of your own, `my_file.py:MyReader` or a name; see `tasks.answers.base`.
        template: what the model is shown; `{prompt}` stands for the question.
        stop: strings that end a completion. Default: what a base model begins a next question with
            (see `tasks.stops`), and none through a chat template.
        max_new_tokens: longest completion, in tokens.
        name: the task's name in tables (default: that of the file, folder or hub id).

    Raises:
        ElicitError: a source that cannot be read, a missing column or split, bad rows, a bad option.
    """
    options = {key: value for key, value in locals().items() if key != "path"}
    return _build_record_task("dataset", path, options, None)


def load_benchmark(task: str, /, path: str | Path | None = None, **given: Any) -> RecordTask:
    """Task of a benchmark, or of problems in its form.

    Args:
        task: a name of `benchmark.list_benchmarks`.
        path: a file, folder or hub id; without one, the benchmark's own, which `download=True` fetches.
        **given: options of `benchmark.list_benchmark_options`.

    Raises:
        ElicitError: whatever `load_dataset` refuses.
    """
    benchmark = find_benchmark(task)
    options = {**_list_defaults(task), **given}
    if path is None:
        path, options["config"] = benchmark.path, options["config"] or benchmark.config
    fixed = {"format": benchmark.format, "answer_pattern": None, "grader": None}
    return _build_record_task(task, path, {**fixed, **options}, benchmark)


def _build_record_task(task: str, path: str | Path, options: dict[str, Any], benchmark: Benchmark | None) -> RecordTask:
    check_options(task, options)
    option_numbering.check_count_from(task, options.get("count_from"))
    form = formats.build_format(
        task,
        options["format"],
        **{key: options.get(key) for key in ("reading", "grader", "answer_pattern", "count_from", "read")},
    )
    tables = folders.load_tables(
        path, config=options["config"], revision=options["revision"], download=options["download"]
    )
    where = f"{KIND} {one_line(repr(str(path)), 200)}"
    splits = options["splits"]
    if benchmark is not None and splits is None and options["split"] is None and benchmark.splits["test"] in tables:
        splits = {ours: theirs for ours, theirs in benchmark.splits.items() if theirs in tables}
    parts = splitting.select_tables(where, tables, splits, options["split"])
    notes: list[str] = []
    known_columns = (*(() if benchmark is None else benchmark.columns), *formats.COLUMNS[form.name])
    placed = _read_records(task, where, parts, form, known_columns, options, notes)
    if not placed:
        raise ElicitError(f"{where} is empty; expected one problem a row.")
    records = tuple(record for _, record in placed)
    return RecordTask(
        name=options["name"] or Path(str(path)).stem,
        records=records,
        format=form,
        template=options["template"],
        stop=choose_stops(task, options["stop"], options["template"], [record.worked or "" for record in records]),
        guessed_stop=options["stop"] is None,
        max_new_tokens=options["max_new_tokens"],
        unit="rows",
        notes=tuple(notes),
        description={"task": task, "path": absolute_path(path), **_non_default_options(task, options)},
    )


def _read_records(
    task: str,
    where: str,
    parts: Mapping[Split | None, Table],
    form: formats.RecordFormat,
    known_columns: Sequence[Mapping[str, str]],
    options: Mapping[str, Any],
    notes: list[str],
) -> list[splitting.LocatedRecord]:
    """Usable records of all parts; rows that are left out are recorded in the notes."""
    drop = _parse_drop(task, options["drop"])
    read: dict[Split | None, list[splitting.LocatedRecord]] = {}
    bad: list[splitting.RejectedRow] = []
    read_rows: list[tuple[Split | None, list[Row], dict[str, str]]] = []
    for ours, table in parts.items():
        columns = _choose_columns(task, table, form, known_columns, options["columns"])
        rows = list(table.rows(list_top_columns(columns, table.columns)))
        read_rows.append((ours, rows, columns))
    if form.name == "choice" and options["count_from"] is None:
        option_numbering.find_first_option_position(where, [(rows, columns) for _, rows, columns in read_rows])
    for ours, rows, columns in read_rows:
        prefix = f"{ours} " if ours else ""
        good, wrong = splitting.parse_rows(rows, columns, form, prefix=prefix)
        if ours is not None and "id" in columns:  # datasets number their rows from 0 in every split
            good = [
                located._replace(record=located.record._replace(id=f"{ours}/{located.record.id}")) for located in good
            ]
        read[ours] = good
        bad += wrong
    if bad and "unusable" not in drop:
        raise splitting.bad_rows_error(
            where, bad, unit="rows", tail="Mend them, or type drop: [unusable] to leave them out."
        )
    placed, duplicates = splitting.remove_duplicates(splitting.assign_splits(read), unit="rows")
    if duplicates and "duplicates" not in drop:
        tail = "Type drop: [duplicates] to keep one of each (the test split's)."
        raise splitting.bad_rows_error(where, duplicates, unit="rows", tail=tail)
    for what, left_out in (("cannot be used", bad), ("repeat another row's prompt, id or group", duplicates)):
        if left_out:
            left = f"{len(left_out)} of {len(placed) + len(bad) + len(duplicates)} rows {what} and are left out"
            notes.append(f"{where}: {left} (the first: {left_out[0].location}: {left_out[0].reason})")
            warnings.warn(notes[-1], stacklevel=5)
    return placed


def _choose_columns(
    task: str, table: Table, form: formats.RecordFormat, known: Sequence[Mapping[str, str]], mapping: object
) -> dict[str, str]:
    """The user's mapping, or the first known mapping whose columns the table has."""
    if mapping is not None:
        columns = check_columns(task, mapping, form.fields)
        check_table(table.where, columns, table.columns, plain=False)
        return columns
    match = next((columns for columns in known if set(columns.values()) <= set(table.columns)), None)
    if match is None:
        check_table(table.where, known[0], table.columns, plain=True)
    assert match is not None
    more = {name: name for name in form.fields if name in table.columns and name not in match}
    return {**match, **(more if set(match) == set(match.values()) else {})}


def _parse_drop(task: str, drop: object) -> tuple[str, ...]:
    names = (drop,) if isinstance(drop, str) else drop
    if not isinstance(names, list | tuple):
        raise ElicitError(f"task {task!r}: drop is {one_line(repr(drop), 60)}; expected a list such as [duplicates].")
    for name in names:
        if name not in splitting.DROPS:
            raise unknown_name_error(f"rows to drop in task {task!r}", name, splitting.DROPS)
    return tuple(names)


def check_options(task: str, options: Mapping[str, Any]) -> None:
    """Validate the options that all tasks made of records share. Raises ElicitError."""
    title, template = options["name"], options["template"]
    if title is not None and (not isinstance(title, str) or not title.strip()):
        raise ElicitError(f"task {task!r}: name is {one_line(repr(title), 60)}; expected text.")
    if not isinstance(template, str) or "{prompt}" not in template:
        value_text = one_line(repr(template), 80)
        raise ElicitError(f"task {task!r}: template is {value_text}; expected text with {{prompt}} in it.")
    whole_parameter(task, "max_new_tokens", options["max_new_tokens"], 1, 1_000_000)
    for option in ("config", "revision"):
        if options.get(option) is not None and not isinstance(options[option], str):
            raise ElicitError(f"task {task!r}: {option} is {one_line(repr(options[option]), 60)}; expected text.")
    if not isinstance(options.get("download", False), bool):
        raise ElicitError(
            f"task {task!r}: download is {one_line(repr(options['download']), 60)}; expected true or false."
        )


def choose_stops(task: str, stop: object, template: str, solutions: Sequence[str]) -> tuple[str, ...]:
    """The user's stop strings, or the default ones for a template."""
    return (
        stop_strings.drop_stops_in(stop_strings.list_default_stops(template), solutions)
        if stop is None
        else stop_strings.parse_stops(task, stop)
    )


def _non_default_options(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that differ from the defaults, as plain data."""
    defaults = _list_defaults(task)
    changed = {key: value for key, value in options.items() if key in defaults and value != defaults[key]}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in changed.items()}
    return {key: absolute_reference(str(value)) if key == "read" else value for key, value in plain.items()}


def _list_defaults(task: str) -> dict[str, Any]:
    """Option -> default, of a dataset or of a benchmark, without the path."""
    options = (load_dataset.__kwdefaults__ or {}) if task == "dataset" else list_benchmark_options(task)
    return {option: default for option, default in options.items() if option != "path"}

"""Problems from the user's own file, one JSON object a line.

    {"prompt": "How many legs have three cats?", "answer": "12", "worked": "A cat has 4 legs. 3 * 4 = 12"}

`prompt` and `answer` are required. Optional: `id`, `group`, `cue_prompt`, `worked`, `theorem` (a worked solution that
states its rules) and `noisy` (a candidate solution as text, or `{"text", "critique", "correct"}`). The split of a
problem is a hash of its group, else of its id, else of its prompt, so that adding lines moves no problem; problems of
one group are never divided. Unknown fields are errors; for a file with columns of its own, map them (`columns`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from elicit.errors import ElicitError, one_line
from elicit.plugins import absolute_reference
from elicit.tasks.datasets import formats, option_numbering, splitting, tables
from elicit.tasks.datasets.column_mapping import check_columns, check_table
from elicit.tasks.datasets.dataset import check_options, choose_stops
from elicit.tasks.datasets.record_task import RecordTask
from elicit.tasks.jsonl_fields import absolute_path, resolve_file

_EXAMPLE = '{"prompt": "...", "answer": "..."}'
_KIND = "task file"


def load_jsonl(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    format: str = "text",
    answer_pattern: str | None = None,
    reading: str | None = None,
    grader: str | None = None,
    count_from: int | None = None,
    read: str | None = None,
    stop: str | Sequence[str] | None = None,
    template: str = "{prompt}",
    max_new_tokens: int = 256,
    name: str | None = None,
) -> RecordTask:
    """Task made from a JSONL file.

    Args:
        path: the file, UTF-8, one object a line; blank lines are skipped.
        columns: our fields from the file's own; other fields are ignored then. Default: fields have our names.
        format, answer_pattern, reading, grader, count_from, read: as for `dataset.load_dataset`.
        stop: strings that end a completion. Default: what a base model begins a next question with
            (see `tasks.stops`), and none through a chat template.
        template: what the model is shown; `{prompt}` stands for the line's prompt (and for its cue prompt).
        max_new_tokens: longest completion, in tokens.
        name: the task's name in tables (default: the file's name without its ending).

    Raises:
        ElicitError: a file that cannot be read, bad lines (the first few are listed by number), a bad option.
    """
    options = {key: value for key, value in locals().items() if key != "path"}
    file = resolve_file(path, _KIND, "task 'jsonl'")
    check_options("jsonl", options)
    option_numbering.check_count_from("jsonl", count_from)
    form = formats.build_format(
        "jsonl", format, reading=reading, grader=grader, answer_pattern=answer_pattern, count_from=count_from, read=read
    )
    where = f"{_KIND} {one_line(repr(str(file)), 200)}"
    table = tables.read_jsonl_table(file, where, _KIND)
    mapping = None if columns is None else check_columns("jsonl", columns, form.fields)
    if mapping is not None and table.columns:
        check_table(where, mapping, table.columns, plain=False)
    if form.name == "choice" and count_from is None:
        option_numbering.find_first_option_position(where, [(table.rows(()), mapping)])
    located, bad = splitting.parse_rows(table.rows(()), mapping, form)
    placed, duplicates = splitting.remove_duplicates(located, unit="lines")
    if bad or duplicates:
        both = sorted([*bad, *duplicates], key=lambda row: int(row.location.removeprefix("line ")))
        raise splitting.bad_rows_error(where, both, unit="lines", tail=f"A line is {_EXAMPLE}")
    if not placed:
        raise ElicitError(f"{where} is empty; expected one problem a line: {_EXAMPLE}")
    records = tuple(record for _, record in placed)
    solutions = [record.worked or "" for record in records]
    options["read"] = None if read is None else absolute_reference(read)
    differs = {key: value for key, value in options.items() if value != (load_jsonl.__kwdefaults__ or {})[key]}
    return RecordTask(
        name=file.stem if name is None else name,
        records=records,
        format=form,
        template=template,
        stop=choose_stops("jsonl", stop, template, solutions),
        guessed_stop=stop is None,
        max_new_tokens=max_new_tokens,
        description={"task": "jsonl", "path": absolute_path(path), **differs},
    )

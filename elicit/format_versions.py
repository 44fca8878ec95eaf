"""Versions of the files that the lab writes, and the one check that a reader makes of them. Imports no torch.

    file                                    key
    spec.yaml (yours and a run's)           format_version            kind "spec"
    manifest.json of a run                  format_version            kind "run": the run's folders and files, and since
                                                                      version 2 its problems (see `PROBLEM_POOLS`)
                                            rows_format_version       kind "rows": rows/TASK.jsonl
    manifest.json of an archive, besides    archive_format_version    kind "archive"
    summary.json                            format_version            kind "summary"
    policy.json                             format_version            kind "policy": the folder of a policy
    card.json of an organism                format_version            kind "card"
    manifest.json of an SAE                 format_version            kind "SAE"
    lens.json of a fitted lens              format_version            kind "lens"

A file without a number is of version 1: the layout has not changed since before there were numbers. A number is raised
when an older reader would misread the new file, and the reader of the version before stays. A new optional field raises
none. Rows carry no number themselves: a line is the same bytes as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elicit.errors import ElicitError, one_line
from elicit.version import __version__

FORMAT_VERSION = "format_version"
ROWS_FORMAT_VERSION = "rows_format_version"
ARCHIVE_FORMAT_VERSION = "archive_format_version"

#: Kind of file -> the version that is written, the latest that can be read.
CURRENT_VERSIONS = {
    "spec": 1,
    "run": 2,
    "rows": 1,
    "archive": 1,
    "summary": 2,
    "policy": 1,
    "card": 1,
    "SAE": 1,
    "lens": 1,
}

#: First version of a summary whose intervals of single arms cover training seeds, whose Holm correction is over all
#: tests of a model's verdict, and which gives the tokens of a fit (`elicit.comparison.summary`).
SEED_INTERVALS = 2
#: First version of a run whose generated problems come from pools (`elicit.tasks.pool`). Those of version 1 were drawn
#: one after another (`elicit.tasks.sequential`), and are drawn so again when such a run is read.
PROBLEM_POOLS = 2


def check_format_version(fields: Mapping[Any, Any], kind: str, where: object, *, key: str = FORMAT_VERSION) -> int:
    """The version of a file's format, which this version of the lab can read.

    Args:
        fields: the content of the file.
        kind: a key of `CURRENT_VERSIONS`.
        where: the file, for messages.

    Raises:
        ElicitError: a later version, or a value that is not a version.
    """
    version = fields.get(key, 1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ElicitError(f"{where}: field {key} is {one_line(repr(version), 60)}; expected a whole number from 1.")
    if version > CURRENT_VERSIONS[kind]:
        raise ElicitError(
            f"{where}: {key} is {version}, and elicit {__version__} reads {kind} files up to version "
            f"{CURRENT_VERSIONS[kind]}: a newer elicit wrote it. Type: pip install --upgrade elicit-reasoning"
        )
    return version

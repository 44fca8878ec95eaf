"""Buffer for transformers' log while it loads: discarded on failure, so that our error stands alone, else replayed."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

from elicit.errors import one_line

_CODES = re.compile(r"\x1b\[[0-9;]*m")
_MISFIT = re.compile(r"^(.+?)\s*\|\s*MISMATCH\s*\|(?:.*?ckpt:)?\s*(.*?)\s*\|?\s*$", re.MULTILINE)


class LogBuffer(logging.Handler):
    """Handler that collects records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def find_shape_mismatch(self) -> str | None:
        """First tensor with a wrong shape in transformers' report of a failed load, with both shapes."""
        for record in self.records:
            match = _MISFIT.search(_CODES.sub("", record.getMessage()))
            if match:
                shapes = match[2].replace("torch.Size(", "").replace(")", "").replace(" vs model:", " in the file and ")
                return one_line(f"{match[1].strip()} is {shapes} by the config", 200)
        return None


@contextlib.contextmanager
def buffer_transformers_logs() -> Iterator[LogBuffer]:
    """Buffer transformers' log. It is replayed if the block succeeds, except for its report of tensors (we print our
    own)."""
    from transformers.utils import logging as of_transformers

    of_transformers.get_verbosity()  # makes its handler, if nothing has yet
    logger, held = logging.getLogger("transformers"), LogBuffer()
    before, propagated, level = logger.handlers[:], logger.propagate, logger.level
    logger.handlers, logger.propagate = [held], False
    logger.setLevel(min(level, logging.WARNING))  # the report is a warning
    try:
        yield held
    finally:
        logger.handlers, logger.propagate = before, propagated
        logger.setLevel(level)
    for record in held.records:
        if record.levelno >= level and "LOAD REPORT" not in record.getMessage():
            logger.handle(record)

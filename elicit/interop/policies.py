"""A saved policy together with the base model it names. Imports no torch before it is asked to load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from elicit.errors import ElicitError, one_line

if TYPE_CHECKING:
    from elicit.policy import Policy


def load_policy(folder: str | Path, *, dtype: str = "auto", device: str = "auto", download: bool = False) -> Policy:
    """A saved policy together with the base model it names.

    Args:
        folder: a `policy` folder of a run (`runs/NAME/cells/MODEL/ARM/SEED/policy`), or what `Policy.save` wrote.
        dtype: as for `elicit.load`.
        device: as for `elicit.load`.
        download: as for `elicit.load`.

    Raises:
        ElicitError: no policy there, or a base model that cannot be loaded or has other weights by now.
    """
    from elicit.model import load
    from elicit.policy import Policy
    from elicit.policy_document import NAME, read_document

    if not os.path.isfile(Path(folder) / NAME):  # False too for what no file system takes
        raise ElicitError(
            f"{one_line(str(folder), 200)} holds no policy: expected a folder with {NAME}, such as "
            "runs/NAME/cells/MODEL/ARM/SEED/policy."
        )
    name = read_document(Path(folder)).base.name
    return Policy.load(Path(folder), load(name, dtype=dtype, device=device, download=download))

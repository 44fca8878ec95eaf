"""A saved policy together with the base model it names. Imports no torch before it is asked to load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.policy import Policy


def load_policy(folder: str | Path, *, dtype: str = "auto", device: str = "auto", download: bool = False) -> Policy:
    """A saved policy together with the base model it names.

    Args:
        folder: a `policy` folder of a run (`runs/NAME/cells/MODEL/ARM/SEED/policy`), or what `Policy.save` wrote.
        dtype, device, download: as for `elicit.load`.

    Raises:
        ElicitError: no policy there, or a base model that cannot be loaded or has other weights by now.
    """
    from elicit.model import load
    from elicit.policy import Policy

    document = Path(folder) / "policy.json"
    try:
        name = json.loads(document.read_text(encoding="utf-8"))["base"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ElicitError(
            f"{folder} holds no policy that can be read; expected a folder with policy.json, such as "
            "runs/NAME/cells/MODEL/ARM/SEED/policy."
        ) from None
    return Policy.load(Path(folder), load(name, dtype=dtype, device=device, download=download))

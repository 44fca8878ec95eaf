"""`adapter`: an existing PEFT adapter as an arm: LoRA, DoRA, LoHa, LoKr, IA3.

LoRA may be rsLoRA and have any targets. The folder is written by `save_pretrained` of a PeftModel (adapter_config.json,
adapter_model.safetensors). The adapter must belong to this base: names and shapes are checked, and the name of the base
where both have a hub id. Its training is not known here, so its record has no cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.errors import ElicitError
from elicit.method import Method, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class PeftAdapter(Method):
    """An adapter trained elsewhere with peft."""

    path: str
    """The adapter's folder."""
    any_base: bool = False
    """Accept an adapter that names another base, such as the same weights under another name."""

    traits: ClassVar[Traits] = Traits(trained=True)

    def __post_init__(self) -> None:
        if not self.path:
            raise ElicitError("adapter: path is empty; give the folder with adapter_config.json.")

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a folder without an adapter, one of an unsupported kind, or one for another model."""
        from elicit.policy import Policy

        policy = Policy.from_peft(base, self.path, any_base=self.any_base)
        return dataclasses.replace(policy, decoding=task_decoding(task))

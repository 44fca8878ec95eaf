"""Checks of the names in a spec: those of folders, and those that must be the names of other parts."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from elicit.comparison.spec.model_overrides import ModelOverrides
from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.method import Method

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_.+#-]*(/[A-Za-z][A-Za-z0-9_.+#-]*)*")

DEVICE_PATTERN = r"^(auto|cpu|balanced|cuda(:[0-9]{1,3})?)$"


def check_device(device: str, where: str) -> None:
    """Raise ElicitError for a text that cannot be a device."""
    if not re.fullmatch(DEVICE_PATTERN, device):
        raise unknown_name_error("device", device, ["auto", "cpu", "cuda", "cuda:0", "balanced"], where=where)


def check_folder_names(names: Mapping[str, Collection[str]], where: str) -> None:
    """Raise ElicitError for a name that cannot be a folder's.

    Args:
        names: kind -> names; only those of kind `arm` may hold a slash.
    """
    for kind, kind_names in names.items():
        for name in kind_names:
            if len(name) > 100 or not _LABEL.fullmatch(name) or (kind != "arm" and "/" in name):
                raise ElicitError(
                    f"{where}: {kind} name {one_line(repr(name), 60)} is not usable as a folder name. "
                    "Use letters, digits and . _ + # -, starting with a letter"
                    + (" (/ separates a control from its parent)." if kind == "arm" else ".")
                )


def check_panels(panels: Mapping[str, ModelOverrides], models: Collection[str], arms: Collection[str]) -> None:
    """Raise ElicitError for a panel whose model, or one of whose arms, is not in the spec."""
    for model, panel in panels.items():
        if model not in models:
            raise unknown_name_error("model", model, models, where="panels")
        for arm in panel.arms or ():
            if arm not in arms:
                raise unknown_name_error("arm", arm, arms, where=f"panels.{model}")


def check_reference(reference: str | None, methods: Mapping[str, Method], where: str) -> None:
    """Raise ElicitError unless the reference is the name of an arm of supervised fine-tuning, or None."""
    if reference is None:
        return
    if reference not in methods:
        raise unknown_name_error("arm", reference, methods, where=f"{where}: reference")
    if methods[reference].traits.family != "sft":
        raise ElicitError(
            f"{where}: reference: arm {reference!r} is not supervised fine-tuning. Name an arm with method: sft."
        )

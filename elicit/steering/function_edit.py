"""`FunctionEdit`: an edit that a Python function computes, h <- h + strength * (f(h) - h).

    # my_edit.py
    def halve_the_mean(h):          # float32 [token, d_model]: the residuals at the edit's positions, one row a token
        return h - 0.5 * h.mean(-1, keepdim=True)

The function returns the edited residuals, of the same shape. Rows are tokens of any problems and samples that happen to
stand side by side: each has to depend on itself alone, which is tried when the edit is made.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float

from elicit import plugins, seeds
from elicit.errors import ElicitError
from elicit.steering.positions import parse

ResidualFunction = Callable[[Float[torch.Tensor, "token d_model"]], Float[torch.Tensor, "token d_model"]]
_TOKENS = 5


@dataclass(frozen=True, eq=False)
class FunctionEdit:
    """An edit by a function of the residual after one layer. Equality is by `sha256`."""

    function: str
    """Reference to its code: `/path/my_edit.py:my_function`, or `my_package.module:my_function`."""
    code_sha256: str
    """Hash of the file with its code; what that file imports is not covered."""
    d_model: int
    layer: int
    strength: float = 1.0
    """Factor on the change; -1 reverses it."""
    positions: str = "first"
    label: str = "function"
    compute: ResidualFunction = field(init=False, repr=False)
    """The function itself."""

    gated: ClassVar[bool] = False
    reads: ClassVar[bool] = True
    feature: ClassVar[None] = None
    mode: ClassVar[str] = "function"

    def __post_init__(self) -> None:
        """Import the code and try it.

        Raises:
            ElicitError: code that is missing or has changed, fails, or does not edit each token by itself.
        """
        parse(self.positions)
        if not math.isfinite(self.strength):
            raise ElicitError(f"steering {self.label!r}: strength {self.strength} is not finite.")
        if plugins.source_sha256(self.function) != self.code_sha256:
            raise ElicitError(
                f"{self.function}: its file has changed since this edit was fitted (hash {self.code_sha256[:12]}). "
                "Bring the old code back, or fit the arm again."
            )
        compute = plugins.load_reference(self.function)
        if not callable(compute):
            raise ElicitError(f"{self.function} is {type(compute).__name__}; expected a function of the residuals.")
        object.__setattr__(self, "compute", compute)
        _try_function(self.function, compute, self.d_model)

    @property
    def absolute(self) -> float:
        """The factor; the size of the change depends on the residual."""
        return self.strength

    @property
    def unit(self) -> float:
        return 1.0

    def delta(self, h: Float[torch.Tensor, "*batch d_model"]) -> Float[torch.Tensor, "*batch d_model"]:
        """The vectors added to `h`."""
        rows = h.reshape(-1, self.d_model).float()
        change = self.compute(rows.clone()) - rows  # a function may write into its argument
        return (self.strength * change).reshape(h.shape).to(h.dtype)

    @property
    def sha256(self) -> str:
        """Hash of everything that determines the edit's effect, so not of the file's place."""
        name = self.function.rpartition(":")[2]
        meaning = ["function", name, self.code_sha256, self.layer, self.strength, self.positions]
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.label} at layer {self.layer}, {self.positions}: {self.strength:g} x its change"

    def to_json(self) -> dict[str, Any]:
        """Plain data, from which `FunctionEdit(**data)` without `kind` is made again."""
        names = ("function", "code_sha256", "d_model", "layer", "strength", "positions", "label")
        return {"kind": "function", **{name: getattr(self, name) for name in names}}


def _try_function(reference: str, compute: ResidualFunction, d_model: int) -> None:
    """Raise ElicitError unless a function edits each of some random residuals by itself, always alike."""
    draws = seeds.make_generator("function edit", d_model).standard_normal((_TOKENS, d_model))
    h = torch.as_tensor(draws, dtype=torch.float32)
    try:
        with torch.no_grad():
            together = compute(h.clone())
            alone = [compute(row[None].clone()) for row in h]
    except Exception as error:
        fault = plugins.describe_failure(error, plugins.find_source(reference))
        raise ElicitError(f"{reference}: {fault} (called with residuals {list(h.shape)}).") from error
    if not isinstance(together, torch.Tensor) or together.shape != h.shape or not together.is_floating_point():
        result = list(together.shape) if isinstance(together, torch.Tensor) else type(together).__name__
        raise ElicitError(f"{reference} returns {result} for residuals {list(h.shape)}; expected the same shape.")
    if not bool(torch.isfinite(together).all()):
        raise ElicitError(f"{reference} returns NaN or infinity for ordinary residuals.")
    if any(row.shape != (1, d_model) for row in alone) or not torch.allclose(torch.cat(alone), together, atol=1e-4):
        raise ElicitError(
            f"{reference} edits a token in another way when others stand beside it, or each time anew. Rows are tokens "
            "of any problems: let each depend on itself alone."
        )

"""The choice of an engine, as a spec or a call gives it. Imports no torch.

engine: transformers                                     # the default: in this process
engine: {vllm: {python: ~/vllm-env/bin/python}}          # started here, in another environment
engine: {vllm: {url: "http://gpu-7:8900"}}               # running elsewhere; ELICIT_VLLM_TOKEN has its token
engine: {vllm: {url: "http://gpu-7:8900", rollouts: true}}   # rollouts of GRPO and RL steering come from it too
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from elicit.errors import ElicitError, one_line

#: Environment variable with the token of a server at a URL.
TOKEN = "ELICIT_VLLM_TOKEN"


class VLLM(BaseModel):
    """A vLLM server: one to start, or one that runs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    python: str | None = None
    """Interpreter of an environment that has vLLM (not this one: vLLM needs another transformers)."""
    url: str | None = Field(default=None, pattern=r"^https?://[^/\s]+/?$")
    """A running server of `python -m elicit_vllm`."""
    rollouts: bool = False
    """Sample the rollouts of GRPO and RL steering there too. In float32 they are the same; in 16 bits the server's
    distribution is not quite the one that is trained."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of `vllm.LLM`, for a server that is started: tensor_parallel_size, gpu_memory_utilization."""

    @model_validator(mode="after")
    def _check_place(self) -> VLLM:
        if (self.python is None) == (self.url is None):
            raise ValueError("expected python (an environment with vLLM) or url (a running server), and not both")
        if self.url is not None and self.options:
            raise ValueError("options are for a server that is started; one at a url has its own")
        return self

    def __hash__(self) -> int:
        return hash(self.key)

    def check(self) -> None:
        """Check what can be known before anything starts.

        Raises:
            ElicitError: there is no such interpreter, or no token for the running server.
        """
        if self.python is not None and not os.access(Path(self.python).expanduser(), os.X_OK):
            raise ElicitError(
                f"engine: vllm: python: {self.python} is not an interpreter. Make an environment with vLLM, and give "
                "its bin/python."
            )
        if self.url is not None and not os.environ.get(TOKEN):
            raise ElicitError(f"engine: vllm: url: {self.url}: set {TOKEN} to the token that it was started with.")

    @property
    def key(self) -> str:
        """Text that is equal for equal choices."""
        return json.dumps(self.model_dump(), sort_keys=True)


class VLLMChoice(BaseModel):
    """`{vllm: {...}}`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    vllm: VLLM


EngineChoice = Literal["transformers"] | VLLMChoice


def check_engine_form(value: Any, where: str) -> None:
    """Raise ElicitError, with what to type, unless `value` is a choice of an engine."""
    if value == "transformers":
        return
    form = "transformers, {vllm: {python: PATH}} or {vllm: {url: URL}}"
    if not isinstance(value, Mapping) or list(value) != ["vllm"] or not isinstance(value["vllm"], Mapping):
        raise ElicitError(f"{where}: engine is {one_line(repr(value), 60)}; expected {form}.")
    try:
        VLLM.model_validate(dict(value["vllm"]))
    except ValidationError as error:
        first = error.errors()[0]
        field = "".join(f"{one_line(part, 40)}: " for part in first["loc"])
        reason = one_line(first["msg"]).removeprefix("Value error, ")
        raise ElicitError(f"{where}: engine: vllm: {field}{reason}. Expected {form}.") from None

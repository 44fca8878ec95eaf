"""`elicit sample`: sample from a model, steered if you like."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from elicit.cli.arguments import parse
from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.steering import Steering


@dataclass(frozen=True)
class Sample:
    """Sample from a model. `\\n` in a prompt is a line break."""

    model: Positional[str]
    """Built-in organism, folder, GGUF file or hub id."""
    prompt: Positional[str]
    steer: str | None = None
    """vector:PATH of a policy folder (its own edits), or random:L2 for a random direction at layer 2."""
    strength: float | None = None
    """In median residual norms. Default: the policy's own; 1 for a random direction."""
    positions: str | None = None
    """all, prompt, generated, first, first:k or decay:k. Default: the policy's own; first for a random direction."""
    n: int = 1
    """Samples."""
    temperature: float = 0.0
    max_new_tokens: int = 64
    seed: int = 0
    dtype: str = "auto"
    device: str = "auto"
    download: bool = False
    """Fetch a hub id that is not on this machine."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Sample, "sample", arguments)
    if options.n < 1:
        raise ElicitError(f"--n is {options.n}; expected at least 1.")
    if options.steer is None and (options.strength is not None or options.positions is not None):
        raise ElicitError("--strength and --positions need --steer.")
    from elicit.model import load
    from elicit.sampling import Decoding

    decoding = Decoding(temperature=options.temperature, max_new_tokens=options.max_new_tokens)
    model = load(options.model, dtype=options.dtype, device=options.device, download=options.download)
    prompt = options.prompt.replace("\\n", "\n")
    edits = _edits(options, model)
    print(f"{prompt!r}")
    for title, steered in (("base", ()), ("steered", edits)):
        if title == "steered" and not edits:
            continue
        context = model.steer(steered) if steered else contextlib.nullcontext()
        with context:
            completions = model.sample([prompt], n=options.n, seed=options.seed, decoding=decoding)[0]
        print(title if not steered else f"{title}: {'; '.join(map(str, steered))}")
        for completion in completions:
            print(f"  {completion.text!r}  ({len(completion.tokens)} tokens, {completion.finish})")
    return 0


def _edits(options: Sample, model: BaseModel) -> tuple[Steering, ...]:
    import dataclasses

    from elicit import seeds, steering
    from elicit.loading import architectures

    if options.steer is None:
        return ()
    kind, _, rest = options.steer.partition(":")
    changes: dict[str, object] = {}
    if options.strength is not None:
        changes["strength"] = options.strength
    if options.positions is not None:
        changes["positions"] = options.positions
    if kind == "vector" and rest:
        found = steering.load(Path(rest))
        if not found:
            raise ElicitError(f"--steer: {rest} holds no steering.json; expected the policy folder of a steering arm.")
        return tuple(dataclasses.replace(edit, **changes) for edit in found)  # type: ignore[arg-type]
    if kind == "random" and rest.startswith("L") and rest[1:].isdigit():
        import torch

        layer = int(rest[1:])
        architectures.check_layer(model.hf, layer)
        direction = torch.from_numpy(
            seeds.generator("random vector", options.seed, 0, layer).standard_normal(model.d_model)
        ).float()
        unit = model.residual_norms.medians[layer]
        edit = steering.Steering(direction, layer, unit=unit, label=f"random#{options.seed}")
        return (dataclasses.replace(edit, **changes),)  # type: ignore[arg-type]
    raise ElicitError(f"--steer is {options.steer!r}; expected vector:FOLDER or random:L<layer>, such as random:L2.")

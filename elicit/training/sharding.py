"""Full weights over several processes: every parameter is cut into shards (FSDP2), one a process.

Each decoder layer is a group of its own, gathered while it computes; embeddings, final norm and head are gathered for
the whole pass. Gradients and optimiser state exist only as shards. Sums of gradients are means over processes, as in
data parallel training. Buffers are on every process. Values keep their type: nothing is computed or sent in less.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from elicit.loading import architectures
from elicit.sampling import Engine
from elicit.training.world import get_world

_OPTIMIZER = "optimizer.pt"
_WEIGHTS = "sharded.safetensors"


def shard_model(hf: Any) -> None:
    """Cut the parameters of a transformers model into shards, in place. Every process must hold the same values."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(hf.device.type, (get_world().size,))
    for layer in architectures.get_decoder_layers(hf):
        fully_shard(layer, mesh=mesh)
    fully_shard(hf, mesh=mesh)


def is_sharded(hf: Any) -> bool:
    """True for a model whose parameters are shards."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(hf, FSDPModule)


def gather_tensor(value: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor that may be a shard. Every process must ask for the same ones in the same order."""
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


class WholeCopy(NamedTuple):
    """A sampler's engine over a whole copy of a sharded model: a forward pass of it waits for no other process."""

    engine: Engine
    refresh: Callable[[], None]
    """Brings the copy to the sharded model's present weights."""


def shard_and_copy(engine: Engine) -> WholeCopy:
    """Cut the engine's model into shards, and keep a whole copy of it on every process to sample from."""
    sharded, whole = engine.hf, copy.deepcopy(engine.hf)
    shard_model(sharded)

    @torch.no_grad()
    def refresh() -> None:
        for value, target in zip(sharded.parameters(), whole.parameters(), strict=True):
            target.copy_(gather_tensor(value.detach()))

    return WholeCopy(dataclasses.replace(engine, hf=whole), refresh)


def compute_joint_norm(tensors: Iterable[torch.Tensor]) -> float:
    """L2 norm of all values together, 0 for none. In double precision, so that diverged values do not overflow."""
    from torch.distributed.tensor import DTensor

    values = list(tensors)
    if not values:
        return 0.0
    if not any(isinstance(value, DTensor) for value in values):
        return math.hypot(*torch.stack(torch._foreach_norm([t.double() for t in values])).tolist())
    local = [value.to_local() if isinstance(value, DTensor) else value for value in values]
    own = torch.stack([part.double().square().sum() for part in local]).sum()
    dist.all_reduce(own)
    return math.sqrt(float(own)) if math.isfinite(float(own)) else float(own)


def trainer_options() -> dict[str, Any]:
    """Arguments of a trainer that runs in several processes; empty for one."""
    world = get_world()
    if world.size == 1:
        return {}
    return {"ddp_backend": world.backend, "ddp_find_unused_parameters": False, "ddp_broadcast_buffers": False}


@torch.no_grad()
def _copy_into_shard(whole: torch.Tensor, shard: Any) -> None:
    from torch.distributed.tensor import distribute_tensor

    shard.copy_(distribute_tensor(whole.to(shard.device), shard.device_mesh, shard.placements))


def make_sharded_trainer(trainer_class: Any) -> Any:
    """Make a trainer class for a model that `shard_model` has cut.

    Accelerate would shard the model itself, but not on a CPU; here it only prepares mixed precision. Checkpoints hold
    whole tensors, as those of one process do.
    """
    from torch.distributed.checkpoint import state_dict as states

    class ShardedTrainer(trainer_class):  # type: ignore[misc]
        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            prepare = self.accelerator.prepare_model
            self.accelerator.prepare_model = functools.partial(prepare, evaluation_mode=True)  # no wrapper around it

        def _move_model_to_device(self, model: Any, device: Any) -> None:
            """Nothing: shards are where they belong."""

        def _clip_grad_norm(self, model: Any) -> Any:
            return gather_tensor(torch.nn.utils.clip_grad_norm_(model.parameters(), self.args.max_grad_norm))

        def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
            from safetensors.torch import save_file

            whole = {name: gather_tensor(p.detach()) for name, p in self.model.named_parameters()}
            if self.args.should_save:
                folder = Path(output_dir or self.args.output_dir)
                folder.mkdir(parents=True, exist_ok=True)
                save_file({name: value.cpu().contiguous() for name, value in whole.items()}, folder / _WEIGHTS)

        def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
            options = states.StateDictOptions(full_state_dict=True, cpu_offload=True)
            state = states.get_optimizer_state_dict(self.model, self.optimizer.optimizer, options=options)
            if self.args.should_save:
                torch.save(state, Path(output_dir) / _OPTIMIZER)
                torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            from safetensors.torch import load_file

            whole = load_file(Path(resume_from_checkpoint) / _WEIGHTS)
            for name, shard in self.model.named_parameters():
                _copy_into_shard(whole[name], shard)

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            if checkpoint is None:
                return
            options = states.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
            path = Path(checkpoint) / _OPTIMIZER
            whole = torch.load(path, map_location="cpu", weights_only=True) if get_world().is_main else {}
            states.set_optimizer_state_dict(self.model, self.optimizer.optimizer, whole, options=options)
            self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

    return ShardedTrainer

"""A simulated `cuda:0`: tensors that claim the device, keep their data on the CPU, and refuse to be mixed.

Import `building` and call `load_before_torch()` first, then `install()` here, which holds for the life of the process.

Every operator on such a tensor arrives in `_run`, which checks what CUDA checks (all tensors on one device, indices,
the generator's device, no numpy view), runs the operator on the data, and wraps what comes out. It also counts
transfers to and from the device, each of which makes a real device wait.

Not simulated: asynchronous errors, streams, pinned memory, memory limits, several devices, CUDA's own random numbers,
autocast, and which dtypes a kernel supports. A result that is left on the wrong device and mixed with nothing later is
not noticed.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")
aten = torch.ops.aten

#: CPU tensors that CUDA accepts beside its own: indices (which are moved), and copies.
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index,
             aten._unsafe_index_put}  # fmt: skip
_COPYING = {aten.copy_, aten.copy, aten._copy_from}
#: Operators whose result a program can only know by waiting for the device.
_READING = {aten._local_scalar_dense, aten.nonzero, aten.equal}
#: Composite operators that are run as they are: torch's decomposition of a product, in Python, takes half of the time.
_RUN_WHOLE = {aten.matmul, aten.linear}


class Mistake(NamedTuple):
    """What a CUDA device would have refused, and the line of the project it came from."""

    message: str
    place: str


mistakes: list[Mistake] = []
#: (kind of transfer, line of the project) -> how often.
transfers: collections.Counter[tuple[str, str]] = collections.Counter()


class DeviceMistakeError(RuntimeError):
    """What torch would raise on a GPU."""


def _place() -> str:
    """The innermost line of `elicit` or `saes` on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        for package in ("/elicit/", "/saes/"):
            if package in file and "site-packages" not in file and "/tests/" not in file:
                return f"{package[1:]}{file.rpartition(package)[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def _refuse(message: str) -> None:
    place = _place()
    mistakes.append(Mistake(message, place))
    raise DeviceMistakeError(f"{message} [{place}]")


class SimulatedTensor(torch.Tensor):
    """A tensor of device cuda:0 whose data are a tensor on the CPU."""

    _host: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: Any, data: torch.Tensor, requires_grad: bool = False) -> Any:
        tensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, data.size(), strides=data.stride(), storage_offset=data.storage_offset(), dtype=data.dtype,
            device=DEVICE, requires_grad=requires_grad,
        )  # fmt: skip
        tensor._host = data
        return tensor

    @property
    def data(self) -> Any:
        return torch.Tensor.data.__get__(self)  # type: ignore[attr-defined]

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        if not isinstance(value, SimulatedTensor):
            _refuse(f".data of a cuda:0 tensor set to one on {value.device}")
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self._host = value._host  # type: ignore[attr-defined]

    def __tensor_flatten__(self) -> Any:  # so that `module.to` swaps parameters and does not set their data
        return ["_host"], None

    @staticmethod
    def __tensor_unflatten__(inner: Any, meta: Any, size: Any, stride: Any) -> Any:
        return SimulatedTensor(inner["_host"])

    def data_ptr(self) -> int:
        return self._host.data_ptr()

    def untyped_storage(self) -> Any:
        return self._host.untyped_storage()

    def storage(self) -> Any:
        return self._host.storage()

    def synchronise_shape(self) -> None:
        """After `resize_`, `set_`, `unsqueeze_` or `out=`: take the shape that the data have now."""
        host = self._host
        ours = self.size(), self.stride(), self.storage_offset()
        if ours != (host.size(), host.stride(), host.storage_offset()):
            torch.Tensor.data.__set__(self, SimulatedTensor(host))  # type: ignore[attr-defined]

    def tolist(self) -> Any:
        transfers["tolist", _place()] += 1
        return self._host.tolist()

    def numpy(self, **_: Any) -> Any:
        _refuse("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"SimulatedTensor({self._host!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            copied = SimulatedTensor(self._host.detach().clone())
            parameter = isinstance(self, torch.nn.Parameter) or getattr(self, "_is_param", False)
            memo[id(self)] = (
                torch.nn.Parameter(copied, self.requires_grad)
                if parameter
                else copied.requires_grad_(self.requires_grad)
            )
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:  # saved as what `map_location="cpu"` would restore
        return self._host.__reduce_ex__(protocol)


def _on_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


@functools.cache
def _is_decomposed(func: Any) -> bool:
    return func.overloadpacket not in _RUN_WHOLE and bool(func._can_decompose())


def _leaves(item: Any) -> Iterator[Any]:
    """What an operator's arguments or results hold, which are nested lists, tuples and dicts."""
    if isinstance(item, list | tuple):
        for part in item:
            yield from _leaves(part)
    elif isinstance(item, dict):
        yield from _leaves(list(item.values()))
    else:
        yield item


def _map_leaves(change: Callable[[Any], Any], item: Any) -> Any:
    """`item` with every leaf changed. `torch.utils._pytree` does this for any container, ten times more slowly."""
    if isinstance(item, list):
        return [_map_leaves(change, part) for part in item]
    if isinstance(item, tuple):
        return tuple(_map_leaves(change, part) for part in item)
    if isinstance(item, dict):
        return {name: _map_leaves(change, part) for name, part in item.items()}
    return change(item)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if torch.is_inference_mode_enabled() and _is_decomposed(func):  # composite operators arrive whole there
        return func.decompose(*args, **kwargs)
    flat = list(_leaves((args, kwargs)))
    ours = [item for item in flat if isinstance(item, SimulatedTensor)]
    packet, target = func.overloadpacket, kwargs.get("device")
    _check_devices(func, flat, ours, args)
    if (ours and (target is None or _on_device(target))) or _on_device(target):
        generators = [kwargs.get("generator"), *(item for item in args if isinstance(item, torch.Generator))]
        if any(generator is not None and generator.device.type == "cpu" for generator in generators):
            _refuse(f"{func}: Expected a 'cuda' device type for generator but found 'cpu'")
    _count(packet, ours, args, target)
    wrapped = {id(item._host): item for item in ours}
    host_args, host_kwargs = _map_leaves(_to_host, (args, kwargs))
    out = func(*host_args, **host_kwargs)
    if func._schema.is_mutable:
        for item in ours:
            item.synchronise_shape()
    if packet in _COPYING:
        stays = isinstance(args[0], SimulatedTensor)
    else:
        stays = _on_device(target) if target is not None else bool(ours)
    view_of_normal = bool(ours) and func.is_view and not ours[0].is_inference()

    def wrap(item: Any) -> Any:
        if not stays or not isinstance(item, torch.Tensor) or isinstance(item, SimulatedTensor):
            return item
        if id(item) in wrapped:
            return wrapped[id(item)]
        with torch.inference_mode(False) if view_of_normal else contextlib.nullcontext():
            return SimulatedTensor(item)

    return _map_leaves(wrap, out)


def _to_host(item: Any) -> Any:
    if isinstance(item, SimulatedTensor):
        return item._host
    return CPU if isinstance(item, torch.device) and item.type == "cuda" else item


def _check_devices(func: Any, flat: list[Any], ours: list[Any], args: Any) -> None:
    """Scalars mix with everything; other CPU tensors only where CUDA moves them itself."""
    others = [t for t in flat if isinstance(t, torch.Tensor) and not isinstance(t, SimulatedTensor) and t.dim() > 0]
    packet = func.overloadpacket
    if not ours or not others or packet in _COPYING:
        return
    if packet not in _INDEXING:
        _refuse(
            f"{func}: Expected all tensors to be on the same device, found cuda:0 and {others[0].device} "
            f"{tuple(others[0].shape)}"
        )
    values = args[2] if len(args) > 2 else None
    if not isinstance(args[0], SimulatedTensor) or any(values is other for other in others):
        _refuse(f"{func}: indices should be either on cpu or on the same device as the indexed tensor")
    transfers["index moved", _place()] += 1


def _count(packet: Any, ours: list[Any], args: Any, target: Any) -> None:
    leaves = packet is aten._to_copy and target is not None and not _on_device(target)
    if ours and (packet in _READING or leaves):
        transfers[packet._qualified_op_name[6:], _place()] += 1
    if packet in _COPYING and isinstance(args[1], torch.Tensor):
        to, source = (isinstance(item, SimulatedTensor) for item in args[:2])
        if to != source:
            transfers["to device" if to else "copied back", _place()] += 1


_installed: list[Any] = []
_GIB = 1 << 30


def install() -> None:
    """Make torch say that there is one CUDA device, and give it these tensors. For the life of the process."""
    if _installed:
        return
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "CUDA")  # factories, in every thread
    _installed.append(library)
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(x, device="cuda") is made on the CPU and moved
    properties = types.SimpleNamespace(
        total_memory=8 * _GIB, major=9, minor=0, name="simulated", multi_processor_count=1, warp_size=32
    )
    answers: dict[str, Any] = {
        **dict.fromkeys(("is_available", "is_initialized", "is_bf16_supported"), True),
        **dict.fromkeys(("_is_in_bad_fork", "is_current_stream_capturing"), False),
        **dict.fromkeys(("current_device", "max_memory_allocated", "memory_allocated"), 0),
        **dict.fromkeys(("max_memory_reserved", "memory_reserved"), 0),
        **dict.fromkeys(("_lazy_init", "synchronize", "empty_cache", "reset_peak_memory_stats", "set_device")),
        **dict.fromkeys(("manual_seed", "manual_seed_all", "set_rng_state", "set_rng_state_all", "ipc_collect")),
        "device_count": 1,
        "mem_get_info": (8 * _GIB, 8 * _GIB),
        "get_device_properties": properties,
        "get_device_name": "simulated",
        "get_device_capability": (9, 0),
        "memory_stats": {},
        "get_rng_state_all": [],
        "get_rng_state": torch.zeros(16, dtype=torch.uint8),
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)
    for name in ("get_rng_state", "set_rng_state", "get_rng_state_all", "set_rng_state_all"):
        setattr(torch.cuda.random, name, getattr(torch.cuda, name))
    stream = types.SimpleNamespace(device=DEVICE, synchronize=lambda: None, wait_stream=lambda _: None)
    torch.cuda.current_stream = torch.cuda.default_stream = lambda *_, **__: stream  # type: ignore[assignment]
    torch._C._cuda_getDevice = lambda: 0  # type: ignore[attr-defined]
    torch.accelerator.is_available = lambda: True
    torch.accelerator.current_accelerator = lambda *_, **__: torch.device("cuda")
    torch.accelerator.device_count = lambda: 1

"""Sites inside a model: named activations of a layer, read and replaced by native forward hooks.

    resid_pre   the residual stream before the layer          blocks.L.hook_resid_pre
    resid_mid   between attention and MLP                     blocks.L.hook_resid_mid
    resid_post  after the layer                               blocks.L.hook_resid_post
    attn_out    what the attention adds to the residual       blocks.L.hook_attn_out
    mlp_out     what the MLP adds to the residual             blocks.L.hook_mlp_out
    z           the heads' outputs before W_O, [head d_head]  blocks.L.attn.hook_z
    pattern     attention weights, [head query key]           blocks.L.attn.hook_pattern

`attn_out` and `mlp_out` are taken behind the norm that Gemma 2 and 3 and OLMo 2 have there: they are summands of the
residual in every family (`loading.parts`). TransformerLens's bridge names the modules in front of those norms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import einops
import torch
from jaxtyping import Float

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.loading import architectures
from elicit.loading.parts import find_layer_parts, first_tensor

RESIDUALS = ("resid_pre", "resid_mid", "resid_post")
SITES = (*RESIDUALS, "attn_out", "mlp_out", "z", "pattern")
_HOOK = re.compile(r"blocks\.(\d+)\.(?:attn\.)?hook_(\w+)")

Read = Callable[[torch.Tensor], None]
Replace = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, order=True)
class Site:
    """One named activation of one layer; for `z` and `pattern` of all heads, or of one."""

    layer: int
    name: str
    head: int | None = None

    def __post_init__(self) -> None:
        if self.name not in SITES:
            raise unknown_name_error("site", self.name, SITES)
        if self.head is not None and self.name not in ("z", "pattern"):
            raise ElicitError(f"site {self.name} has no heads; z and pattern have.")

    def __str__(self) -> str:
        return f"{self.name}.{self.layer}" + ("" if self.head is None else f".{self.head}")


def parse_site(text: str, layers: Sequence[int]) -> list[Site]:
    """Sites of a name (in every one of `layers`), of `name.layer`, `name.layer.head`, or a TransformerLens hook name.

    Raises:
        ElicitError: an unknown name.
    """
    hook = _HOOK.fullmatch(text)
    if hook is not None:
        return [Site(int(hook[1]), hook[2])]
    name, *numbers = text.split(".")
    if any(not number.isdigit() for number in numbers) or len(numbers) > 2:
        raise ElicitError(f"site {one_line(repr(text), 60)}: type a name, name.layer or name.layer.head, as z.3.1")
    if not numbers:
        return [Site(layer, name) for layer in layers]
    return [Site(int(numbers[0]), name, int(numbers[1]) if len(numbers) > 1 else None)]


def resolve_sites(hf: Any, sites: str | Sequence[str], layers: Sequence[int] | None = None) -> tuple[Site, ...]:
    """Sites by name, checked against the model: they exist, and its layers are built so that they can be read.

    Args:
        layers: layers of names without a number; None: every layer.

    Raises:
        ElicitError: an unknown site, layer or head, or a layer whose parts are not known.
    """
    chosen = range(len(architectures.get_decoder_layers(hf))) if layers is None else layers
    names = [sites] if isinstance(sites, str) else list(sites)
    resolved = tuple(dict.fromkeys(site for name in names for site in parse_site(name, chosen)))
    if not resolved:
        raise ElicitError(f"sites: none are named. Expected one of: {', '.join(SITES)}")
    for site in resolved:
        architectures.check_layer(hf, site.layer)
        if site.name not in ("resid_pre", "resid_post"):
            parts = find_layer_parts(hf, site.layer)
            if site.name == "resid_mid" and parts.parallel:
                raise ElicitError(
                    f"site {site}: attention and MLP of this {architectures.unwrap_model(hf).config.model_type} model "
                    "work side by side, without a residual between them. Take resid_pre or resid_post."
                )
        if site.head is not None and not 0 <= site.head < count_heads(hf):
            raise ElicitError(f"site {site}: heads are 0 to {count_heads(hf) - 1}.")
    return resolved


def count_heads(hf: Any) -> int:
    """Query heads of a layer."""
    return int(architectures.unwrap_model(hf).config.get_text_config(decoder=True).num_attention_heads)


def split_heads(hf: Any, z: Float[torch.Tensor, "*batch heads_d"]) -> Float[torch.Tensor, "*batch head d_head"]:
    """The heads' outputs, which lie side by side in the projection's input."""
    return einops.rearrange(z, "... (head d_head) -> ... head d_head", head=count_heads(hf))


@contextmanager
def read_site(hf: Any, site: Site, read: Read) -> Iterator[None]:
    """Call `read` with the site's activation in every forward pass while the context is open."""

    def pass_through(tensor: torch.Tensor) -> torch.Tensor:
        read(tensor)
        return tensor

    with replace_site(hf, site, pass_through):
        yield


@contextmanager
def replace_site(hf: Any, site: Site, replace: Replace) -> Iterator[None]:
    """Replace the site's activation by `replace` of it in every forward pass while the context is open.

    `replace` gets and returns [batch, pos, d_model], or for `z` [batch, pos, head, d_head]. Patterns can be read only.
    """
    layer: torch.nn.Module = architectures.get_decoder_layers(hf)[site.layer]
    with ExitStack() as stack:
        for handle in _register(hf, layer, site, replace):
            stack.callback(handle.remove)
        yield


def _register(hf: Any, layer: torch.nn.Module, site: Site, replace: Replace) -> list[Any]:
    if site.name == "resid_pre":
        return [layer.register_forward_pre_hook(_edit_input(replace), with_kwargs=True)]
    if site.name == "resid_post":
        return [layer.register_forward_hook(_edit_output(replace))]
    parts = find_layer_parts(hf, site.layer)
    if site.name == "mlp_out":
        return [layer.get_submodule(parts.mlp_output).register_forward_hook(_edit_output(replace))]
    if site.name == "attn_out":
        return [layer.get_submodule(parts.attention_output).register_forward_hook(_edit_output(replace))]
    if site.name == "z":
        projection = layer.get_submodule(parts.projection)

        def edit_heads(z: torch.Tensor) -> torch.Tensor:
            return replace(split_heads(hf, z)).flatten(-2)

        return [projection.register_forward_pre_hook(_edit_input(edit_heads), with_kwargs=True)]
    if site.name == "pattern":
        return [layer.get_submodule(parts.attention).register_forward_hook(_read_pattern(site, replace))]
    before: list[torch.Tensor] = []

    def keep_input(_: Any, args: Any, kwargs: Any) -> None:
        before[:] = [_get_input(args, kwargs)]

    def edit_middle(added: torch.Tensor) -> torch.Tensor:
        middle = before[0] + added
        edited = replace(middle)
        return added if edited is middle else edited - before[0]

    return [
        layer.register_forward_pre_hook(keep_input, with_kwargs=True),
        layer.get_submodule(parts.attention_output).register_forward_hook(_edit_output(edit_middle)),
    ]


def _get_input(args: Any, kwargs: Any) -> torch.Tensor:
    tensor = args[0] if args else kwargs["hidden_states"]
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _edit_input(replace: Replace) -> Callable[..., Any]:
    def edit(_: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        new = replace(_get_input(args, kwargs))
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    return edit


def _edit_output(replace: Replace) -> Callable[..., Any]:
    def edit(_: Any, args: Any, output: Any) -> Any:
        new = replace(first_tensor(output))
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return edit


def _read_pattern(site: Site, read: Replace) -> Callable[..., Any]:
    def read_weights(_: Any, args: Any, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if not isinstance(weights, torch.Tensor):
            raise ElicitError(f"site {site}: this architecture does not return its attention weights.")
        read(weights)

    return read_weights


@contextmanager
def eager_attention(hf: Any) -> Iterator[None]:
    """Run attention in the form that returns its weights, which agrees with SDPA to rounding."""
    model = architectures.unwrap_model(hf)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)

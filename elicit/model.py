"""`BaseModel`: the shared wrapper around one transformers causal LM and its tokenizer.

It is not an `nn.Module`: training, saving and hooking use the transformers model itself. Generation and training use
native forward hooks; `bridge` is a TransformerLens view of the same parameters, for inspection.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any

import torch
from jaxtyping import Float

from elicit import seeds, selftest
from elicit.activations.methods import ActivationMethods
from elicit.context import context_length
from elicit.errors import ElicitError
from elicit.loading import architectures, rows, threads, tokens
from elicit.loading.continuing import encode_after, encode_continuation
from elicit.loading.ends import encode_prompt
from elicit.loading.load import LoadedModel, load_transformers
from elicit.loading.templates import ChatTemplate, get_chat_template, today
from elicit.sampling import Completion, Decoding, Engine, OutsideEngine, Request, Scored, cache, generate, logprobs
from elicit.steering import AnyEdit, Edit, Firings, Mode, PositionTracker, View, steer
from elicit.steering.arguments import VectorOptions, resolve_edits
from elicit.steering.residuals import Norms, residual_norms, residuals_at
from elicit.tasks import AskedTask, Task
from elicit.tasks.from_dict import in_dialect


def load(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    download: bool = False,
    cache_gib: float | None = None,
    date: datetime.date | None = None,
) -> BaseModel:
    """Load a base model, and set torch's threads according to its size.

    Args:
        name: a built-in organism (`elicit ls models`), a folder, a GGUF file, or a hub id.
        dtype: "float32", "bfloat16", "float16", or "auto" (the file's own; float32 for organisms).
        device: "cpu", "cuda", "cuda:1", "auto", or "balanced" (spread over all GPUs, for inference).
        download: allow the download of a hub id that is not cached. Nothing else touches the network.
        cache_gib: most GiB of keys and values in a batch while sampling. None: 1 on a CPU, and on a GPU a third of the
            memory left by the weights, at most 8.
        date: the date for chat templates that use one (Llama 3.2, SmolLM3). None: today.

    Raises:
        ElicitError: the name, dtype or device is unknown, the weights cannot be read, or the model does not pass its
            self-test (`elicit.selftest`).
    """
    loaded = load_transformers(name, dtype=dtype, device=device, download=download)
    model = build_base_model(loaded, cache_bytes=None if cache_gib is None else int(cache_gib * 2**30), date=date)
    selftest.self_test_once(model.engine, loaded)
    return model


def build_base_model(
    loaded: LoadedModel, *, cache_bytes: int | None = None, date: datetime.date | None = None
) -> BaseModel:
    """Build the model from loaded weights and tokenizer, and set torch's threads; the self-test is not run yet."""
    model = BaseModel(loaded, cache_bytes=cache_bytes, date=date)
    threads.set_torch_threads(sum(p.numel() for p in model.hf.parameters()))
    return model


@lru_cache(maxsize=2)
def _load_other_model(name: str, dtype: str, device: str) -> BaseModel:
    return load(name, dtype=dtype, device=device)


class BaseModel(ActivationMethods):
    """One causal LM and its tokenizer, with methods to inspect it, steer it and sample from it.

    Layer L means decoder block L; its output is what TransformerLens calls `blocks.L.hook_resid_post`.
    """

    def __init__(
        self, loaded: LoadedModel, *, cache_bytes: int | None = None, date: datetime.date | None = None
    ) -> None:
        self.hf: Any = loaded.hf
        self.tokenizer: Any = loaded.tokenizer
        self.name = loaded.name
        self.in_memory = loaded.source.kind == "memory"
        self.card: dict[str, Any] = loaded.card or {}
        self._weights_sha256 = loaded.weights_sha256
        self.tokenizer_sha256 = loaded.tokenizer_sha256
        self.clock = PositionTracker(loaded.tokenizer)
        self.date = date or today()
        self.outside: OutsideEngine | None = None
        """An engine outside this process that holds the same weights; None: policies run here."""
        self.cache_bytes = cache.default_cache_budget(self.hf) if cache_bytes is None else cache_bytes
        self.pad_id = tokens.choose_padding_id(self.tokenizer, self.hf)
        self.unassigned_ids = rows.find_unassigned_ids(self.tokenizer, self.hf)
        pad = tokens.find_banned_pad(self.tokenizer, self.hf)  # never trained: its logit is meaningless
        self.banned_ids = tuple(sorted({*self.unassigned_ids, *(() if pad is None else (pad,))}))

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.hf.parameters())
        return (
            f"BaseModel({self.name}: {self.hf.config.model_type}, {parameters / 1e6:.2f} M parameters, "
            f"{self.n_layers} layers, d_model {self.d_model}, {str(self.dtype).removeprefix('torch.')}, {self.device})"
        )

    @property
    def weights_sha256(self) -> str:
        """Hash of the names, shapes and values of the weights."""
        return self._weights_sha256

    def require_weights(self) -> None:
        """Called before weights are copied or trained; an outline (`elicit.outline`), which has none, raises here."""

    def another(self, name: str) -> BaseModel:
        """Load another model in this one's dtype and on its device. The last two stay loaded.

        Raises:
            ElicitError: as `load`.
        """
        return _load_other_model(name, str(self.dtype).removeprefix("torch."), str(self.device))

    @property
    def layers(self) -> Sequence[torch.nn.Module]:
        return architectures.get_decoder_layers(self.hf)  # type: ignore[return-value]

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def d_model(self) -> int:
        return architectures.get_d_model(self.hf)

    @property
    def context_length(self) -> int | None:
        """Most tokens of prompt and completion together, by its config; None without a limit."""
        return context_length(vars(self.hf.config.get_text_config(decoder=True)))

    @property
    def dtype(self) -> torch.dtype:
        return self.hf.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        return self.hf.device  # type: ignore[no-any-return]

    @property
    def engine(self) -> Engine:
        """The sampler's view of this model."""
        ends = self.hf.generation_config.eos_token_id
        ids = ends if isinstance(ends, list) else [ends]
        known = {i for i in [*ids, self.tokenizer.eos_token_id] if i is not None and i < rows.count_rows(self.hf)}
        end_ids = frozenset(known - {*self.unassigned_ids})
        return Engine(self.hf, self.tokenizer, self.clock, end_ids, self.pad_id, self.banned_ids, self.cache_bytes)

    @cached_property
    def bridge(self) -> Any:
        """A `TransformerBridge` on a clone that shares this model's parameters (so it sees weight updates).

        Use it for caches, logit lens, attention patterns and SAEs. Rebuild it (`del model.bridge`) after parameter
        objects were replaced, as in LoRA injection.
        """
        from elicit.loading.bridge import bridge_view

        bridge = bridge_view(self.hf, self.tokenizer)
        for opened in self.clock.steering:
            opened.attach(self._get_bridge_view(bridge))
        return bridge

    def _get_bridge_view(self, bridge: Any) -> View:
        """The bridge's modules at which steering acts: its hook points behind each block, so that caches see it."""
        decoder = bridge.original_model.get_submodule(architectures.get_layout(self.hf).decoder)
        return View(decoder, [block.hook_out for block in bridge.blocks])

    @cached_property
    def chat(self) -> ChatTemplate | None:
        """The tokenizer's chat template, which renders messages up to the start of the answer; None without one."""
        return get_chat_template(self.tokenizer, self.name, self.date)

    @property
    def prompt_date(self) -> str | None:
        """The date given in prompts, as "2026-01-31"; None if no chat template uses one."""
        return self.date.isoformat() if self.chat is not None and self.chat.tells_date else None

    def on(self, date: datetime.date) -> BaseModel:
        """This model with another date in its chat template: the same weights, tokenizer and hooks."""
        if date == self.date:
            return self
        other = copy.copy(self)
        other.date = date
        other.__dict__.pop("chat", None)
        return other

    def bind(self, task: Task) -> Task:
        """Bind a task to this model: through its chat template if the task uses one, or in an organism's prompt format.

        Raises:
            ElicitError: the task requires a chat template and the model lacks one, or it sets values that the template
                does not read.
        """
        if not isinstance(task, AskedTask):
            return in_dialect(task, self.card.get("dialect"))
        values = task.asking.chat_template_kwargs
        if values and self.chat is None:
            raise ElicitError(
                f"prompts: chat_template_kwargs is given, but the tokenizer of {self.name} lacks a chat template. "
                "Leave it out."
            )
        return task.bind(self.chat.with_values(values) if self.chat is not None else None, self.name)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a prompt, with the tokenizer's own special tokens and never two BOS.

        Raises:
            ElicitError: the prompt is empty, or has a token for which the weights lack a row.
        """
        ids = encode_prompt(self.tokenizer, text)
        if not ids:
            raise ElicitError("a prompt is empty, and this tokenizer does not add a BOS. Give at least one character.")
        rows.check_token_ids(self.tokenizer, ids, rows.count_rows(self.hf), self.name)
        return ids

    def continuation(self, text: str, prompt: str | None = None) -> tuple[int, ...]:
        """Token ids of `text` as it continues `prompt` (`loading.continuing`); None: as it continues any text."""
        ids = encode_continuation(self.tokenizer, text, prompt)
        rows.check_token_ids(self.tokenizer, ids, rows.count_rows(self.hf), self.name)
        return ids

    def encode_pair(self, prompt: str, completion: str) -> Scored:
        """Token ids of a prompt and of the completion that follows it: those of prompt + completion, unless a token
        would span both.
        """
        ids = self.encode(prompt)
        more = encode_after(self.tokenizer, ids, prompt, completion)
        rows.check_token_ids(self.tokenizer, more, rows.count_rows(self.hf), self.name)
        return Scored(ids, more)

    @contextmanager
    def steer(
        self,
        edit: AnyEdit | Edit | Sequence[AnyEdit | Edit] | Float[torch.Tensor, " d_model"],
        *,
        layer: int | None = None,
        strength: float = 1.0,
        mode: Mode = "add",
        positions: str = "first",
        unit: float | None = None,
        coefficient: float | None = None,
        prompt_lengths: Sequence[int] | int | None = None,
    ) -> Iterator[Firings]:
        """Steer every forward pass while the context is open, `bridge`'s too. Contexts nest.

        Args:
            edit: specs, or a direction [d_model] together with `layer`.
            strength: in residual norms (add), in units of `unit` (clamp), a factor (scale).
            unit: absolute size of strength 1; for add, by default the layer's median residual norm.
            coefficient: instead of a strength, the factor by which the direction is added at its own length, as
                published vectors are applied: h + coefficient * edit.
            prompt_lengths: only for forward passes outside `sample` and `score`.

        Raises:
            ElicitError: a layer, mode or position form is unknown, or an edit never touched a forward pass.
        """
        options = VectorOptions(layer, strength, mode, positions, unit, coefficient)
        plain = resolve_edits(self, edit, options)
        bridge = self.__dict__.get("bridge")
        with steer(
            architectures.get_decoder(self.hf),
            self.layers,
            self.clock,
            plain,
            prompt_lengths=prompt_lengths,
            others=() if bridge is None else (self._get_bridge_view(bridge),),
        ) as firings:
            yield firings

    def sample(
        self, prompts: Sequence[str], *, n: int = 1, seed: int = 0, decoding: Decoding | None = None, **fields: object
    ) -> list[list[Completion]]:
        """Sample `n` completions of each prompt.

        Random numbers depend on (seed, prompt text, sample index), so a prompt's samples do not depend on its batch.

        Args:
            decoding: decoding options; by default greedy, 64 new tokens.
            **fields: single fields of `Decoding`, such as `temperature=1.0, max_new_tokens=200`.

        Raises:
            ElicitError: `prompts` is a single string, a field is unknown, or a prompt with `max_new_tokens` exceeds the
                model's positions.
        """
        if isinstance(prompts, str):
            raise ElicitError("sample takes a list of prompts. Type: model.sample([prompt])")
        chosen = (decoding or Decoding()).replace(**fields)
        requests = [
            Request(self.encode(prompt), tuple(seeds.derive_key(seed, "prompt", prompt, i) for i in range(n)))
            for prompt in prompts
        ]
        return generate(self.engine, requests, chosen)

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[list[float]]:
        """log p (nats) of every token of each completion given its prompt, teacher-forced."""
        pairs = zip(prompts, completions, strict=True)
        return logprobs(self.engine, [self.encode_pair(*pair) for pair in pairs])

    def residuals(self, prompts: Sequence[str]) -> Float[torch.Tensor, "layer prompt d_model"]:
        """The residual after every layer at each prompt's last token (offset 0)."""
        sequences = [self.encode(prompt) for prompt in prompts]
        return residuals_at(self.hf, self.layers, sequences, [len(ids) - 1 for ids in sequences])

    def residual_norms_of(self, texts: Sequence[str]) -> Norms:
        """Median residual norm after every layer over the tokens of `texts`, excluding the first two of each."""
        return residual_norms(self.hf, self.layers, [self.encode(text) for text in texts])

    @cached_property
    def residual_norms(self) -> Norms:
        """Median residual norms over neutral sentences: the default unit of `add`."""
        from elicit.tasks import neutral_text

        return self.residual_norms_of(neutral_text.sample_held_out_sentences(64))

"""Requests to vLLM, and its answers back in the lab's terms.

Every request carries its own prompt length, random-number key, filters and edits, so a batch may mix them freely. What
comes back says, beside the tokens, where each edit acted.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from elicit_vllm.edits import RequestError
from elicit_vllm.sampling import ARGUMENTS, IdentitySampling
from elicit_vllm.worker import SteeringWorker, private_path

_EXTENSION = f"{SteeringWorker.__module__}.{SteeringWorker.__qualname__}"
_REQUEST = {"ids", "prompt", "key", "start", "most", "filters", "rank", "avoid", "edits", "stop", "ends"}
_SCORE = {"ids", "prompt", "edits"}
#: Files of weights that are kept.
_KEPT = 4


class Setting(NamedTuple):
    """What holds for all requests of a call."""

    vocabulary: int
    """Number of tokens; later rows of the head are padding."""
    banned: tuple[int, ...] = ()
    """Further ids that are never chosen."""
    weights: str | None = None
    """Name of a file of tensors that take the place of the model's own; None: the model's own."""


class Engine:
    """One model in vLLM. Calls are carried out one after the other."""

    def __init__(self, model: str, folder: Path, *, dtype: str, options: Mapping[str, Any]) -> None:
        """Load a model.

        Args:
            model: a transformers folder.
            folder: the server's own folder, for edits and weights that it is sent.
            options: further arguments of `vllm.LLM`.
        """
        from vllm import LLM

        self._llm = LLM(
            model=model,
            dtype=dtype,
            enforce_eager=True,  # hooks need Python in every pass
            async_scheduling=False,  # a step's random number needs the tokens before it
            logits_processors=[IdentitySampling],
            worker_extension_cls=_EXTENSION,
            **options,
        )
        self._folder = folder
        self._lock = threading.Lock()
        self._layers: dict[str, int] = {}
        self._touching: dict[str, bool] = {}
        self._weights: str | None = None
        self._sent: list[Path] = []
        self._serial = 0
        self.recomputed = 0
        """Requests that vLLM put off and computed again."""
        self._tokens: dict[str, Any] = {}
        self.about = self._call("elicit_install")

    def _call(self, method: str, *args: Any) -> Any:
        return self._llm.collective_rpc(method, args=args)[0]

    def has_edit(self, name: str) -> bool:
        return name in self._layers

    def has_weights(self, name: str) -> bool:
        return name.isalnum() and private_path(self._folder, name).exists()

    def put_edit(self, name: str, content: bytes) -> None:
        """Take an edit: a safetensors file whose metadata has its JSON under `edit`. Its name is its content's hash.

        Raises:
            RequestError: the name is another's, the file is no edit, or its layer does not exist.
        """
        path = self._write(name, content)
        with self._lock:
            if name in self._layers:
                return
            entry = _read_entry(path)
            layer = self._call("elicit_put_edit", name, str(path))
            if not 0 <= layer < self.about["layers"]:
                self._call("elicit_drop_edits", [name])
                raise RequestError(f"layer {layer} does not exist; layers are 0 to {self.about['layers'] - 1}")
            self._layers[name], self._touching[name] = layer, entry["positions"] in ("all", "prompt")

    def put_weights(self, name: str, content: bytes) -> None:
        """Take named tensors, to be loaded over the model's own by requests that name them.

        The last `_KEPT` are kept: a training sends new ones with every step.
        """
        path = self._write(name, content)
        with self._lock:
            self._sent = [*(other for other in self._sent if other != path), path]
            for old in self._sent[:-_KEPT]:
                old.unlink()
            self._sent = self._sent[-_KEPT:]

    def _write(self, name: str, content: bytes) -> Path:
        if hashlib.sha256(content).hexdigest() != name:
            raise RequestError("the content is not that of its name, a sha256")
        path = private_path(self._folder, name)
        path.write_bytes(content)
        return path

    def complete(self, requests: Sequence[Mapping[str, Any]], setting: Setting) -> list[dict[str, Any]]:
        """Generate a completion for every request."""
        from vllm import SamplingParams

        def build(request: Mapping[str, Any], name: str) -> Any:
            _check_fields(request, _REQUEST)
            return SamplingParams(
                temperature=0.0,
                max_tokens=request["most"],
                ignore_eos=True,
                stop=list(request["stop"]),
                include_stop_str_in_output=True,
                stop_token_ids=list(request["ends"]),
                detokenize=bool(request["stop"]),
                skip_special_tokens=False,
                skip_reading_prefix_cache=self._edits_prompt(request) or None,
                extra_args={ARGUMENTS: {**request, "id": name}},
            )

        outputs, records = self._run(requests, setting, build)
        answers = []
        for output, record in zip(outputs, records, strict=True):
            tokens = list(output.outputs[0].token_ids)
            chosen = record["chosen"][: len(tokens)]
            if [token for token, *_ in chosen] != tokens:
                raise RuntimeError("vLLM gave other tokens than were chosen for it.")
            answers.append(
                {
                    "tokens": tokens,
                    "logprobs": [choice[1] for choice in chosen],
                    "margins": [choice[2] for choice in chosen],
                    "drawn": [choice[3] for choice in chosen],
                    "share": chosen[0][4],
                    "touched": record["touched"],
                    "cached": output.num_cached_tokens or 0,
                    "stopped": output.outputs[0].finish_reason == "stop",
                }
            )
        return answers

    def score(self, requests: Sequence[Mapping[str, Any]], setting: Setting) -> list[dict[str, Any]]:
        """log p of every token after the prompt, teacher-forced."""
        from vllm import SamplingParams

        def build(request: Mapping[str, Any], name: str) -> Any:
            _check_fields(request, _SCORE)
            arguments = {"id": name, "prompt": request["prompt"], "edits": request["edits"]}
            return SamplingParams(
                temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False, extra_args={ARGUMENTS: arguments}
            )

        outputs, records = self._run(requests, setting, build)
        answers = []
        for request, output, record in zip(requests, outputs, records, strict=True):
            scored = [
                entry[token].logprob
                for token, entry in zip(
                    request["ids"][request["prompt"] :], output.prompt_logprobs[request["prompt"] :], strict=True
                )
            ]
            answers.append({"logprobs": scored, "touched": record["touched"]})
        return answers

    def _run(
        self, requests: Sequence[Mapping[str, Any]], setting: Setting, build: Any
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        with self._lock:
            for name in {name for request in requests for name in request.get("edits", ())}:
                if name not in self._layers:
                    raise RequestError(f"edit {name[:12]} was never sent")
            self._use_tokens(setting)
            self._use_weights(setting.weights)
            names = [str(self._serial + i) for i in range(len(requests))]
            self._serial += len(requests)
            params = [build(request, name) for request, name in zip(requests, names, strict=True)]
            prompts = [
                {"prompt_token_ids": list(request["ids"]), "cache_salt": self._salt(request)} for request in requests
            ]
            try:
                outputs = self._llm.generate(prompts, params, use_tqdm=False)
            except ValueError as error:
                self._call("elicit_take", names)
                raise RequestError(str(error)) from error
            records = self._call("elicit_take", names)
            self.recomputed += sum(record["recomputed"] for record in records.values())
        return outputs, [records[name] for name in names]

    def _edits_prompt(self, request: Mapping[str, Any]) -> bool:
        """True if an edit acts on tokens that a cached prefix could hold: then it must be seen to act on them."""
        return any(self._touching[name] for name in request["edits"]) or bool(request["edits"] and request["start"])

    def _salt(self, request: Mapping[str, Any]) -> str:
        """What a cached prefix depends on beside its tokens: weights, edits, and where their offsets begin."""
        edits = request["edits"]
        key = [self._weights, *edits, request["prompt"] if edits else None]
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()

    def _use_tokens(self, setting: Setting) -> None:
        tokens = {"vocabulary": setting.vocabulary, "banned": list(setting.banned)}
        if tokens != self._tokens:
            self._call("elicit_set_tokens", tokens["vocabulary"], tokens["banned"])
            self._llm.reset_prefix_cache()
            self._tokens = tokens

    def _use_weights(self, weights: str | None) -> None:
        """Load a policy's weights, or the model's own."""
        if weights == self._weights:
            return
        if weights is not None and not self.has_weights(weights):
            raise RequestError(f"weights {weights[:12]} were never sent")
        self._weights = "unknown"  # if loading fails half-way, the next call loads again
        self._call("elicit_load_weights", None if weights is None else str(private_path(self._folder, weights)))
        self._weights = weights


def _check_fields(request: Mapping[str, Any], expected: set[str]) -> None:
    if set(request) != expected:
        odd = sorted(set(request) ^ expected)[0]
        raise RequestError(f"a request has fields {', '.join(sorted(expected))}; {odd!r} is missing or unknown")


def _read_entry(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            entry = json.loads((file.metadata() or {})["edit"])
            entry["positions"], entry["layer"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RequestError(f"this is no edit: {error}") from None
    return dict(entry)

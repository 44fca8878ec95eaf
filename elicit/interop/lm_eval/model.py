"""`PolicyLM`: a policy as a model of lm-eval. It imports lm-eval; get it from `elicit.interop.lm_eval`.

What lm-eval asks is put to the policy as a problem's prompt would be: with its prompting, weights, steering, readout
and search, and with its decoding wherever the request says nothing (`lm_eval_decoding` has the rule). A document of our
own task files is recognised and answered exactly as in a run, random numbers included (`lm_eval_problems`).

Tokens are those of lm-eval's own HFLM: special tokens, the prefix of an empty context, truncation on the left. The
untouched base scores and answers as it does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import has_bos_prefix, resolve_max_length
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window, simple_parse_args_string
from tqdm import tqdm

from elicit.errors import ElicitError, unknown_name_error
from elicit.interop.lm_eval import about as about
from elicit.interop.lm_eval.answers import render_context
from elicit.interop.lm_eval.requests import AnswerSettings, answer_requests
from elicit.interop.lm_eval.scores import ContinuationScore, score_continuations
from elicit.interop.policies import load_policy
from elicit.loading import rows
from elicit.model import load
from elicit.policy import Policy, Prompting
from elicit.sampling import Decoding, Scored

_LOG = logging.getLogger(__name__)
#: What lm-eval lets a model generate where a request names no length; an untouched base has no length of its own.
_LM_EVAL_TOKENS = 256


class PolicyLM(TemplateLM):  # type: ignore[misc]  # lm-eval is untyped; it takes subclasses of its LM and nothing else
    """A policy, as lm-eval's evaluator takes it.

    Args:
        policy: a policy, or its folder (`runs/NAME/cells/MODEL/ARM/SEED/policy`).
        base: instead: what `elicit.load` takes; the untouched model, greedy.
        device: as for `elicit.load`, where something is loaded.
        dtype: likewise.
        download: likewise.
        seed: of sampled answers. Default: the one in the path of a run's policy, else 0.
        sampling: "request" (a request's temperature and filters count) or "policy" (the policy's own always do).
        batch_size: most requests at a time. 1 (lm-eval's default) and "auto" leave it to the sampler, which goes by
            memory.
        max_batch_size: most requests at a time; 1 has one at a time.
        max_length: context length in tokens. Default: the model's.
        prefix_token_id: what stands before an empty context. Default: BOS, else EOS.

    Raises:
        ElicitError: neither or both of policy and base, an unknown argument, or nothing to load there.
    """

    def __init__(
        self,
        policy: Policy | str | Path | None = None,
        base: str | None = None,
        *,
        device: str | None = None,
        dtype: str = "auto",
        download: bool = False,
        seed: int | None = None,
        sampling: str = "request",
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        max_length: int | None = None,
        prefix_token_id: int | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        for name in others:
            raise unknown_name_error("model argument", name, _ARGUMENTS, where="lm-eval")
        if (policy is None) == (base is None):
            raise ElicitError("lm-eval: type policy=FOLDER, or base=MODEL for an untouched model; one of the two.")
        if sampling not in ("request", "policy"):
            raise unknown_name_error("sampling", sampling, ("request", "policy"), where="lm-eval")
        self.policy = _resolve_policy(policy, base, {"device": device or "auto", "dtype": dtype, "download": download})
        self.model = self.policy.model
        self.tokenizer = self.model.tokenizer
        self.seed = seed if seed is not None else _parse_run_seed(policy)
        self.sampling = sampling
        self.rows = _parse_batch_size(batch_size, max_batch_size)
        self.max_length = max_length or resolve_max_length(self.model.hf.config, self.tokenizer)
        self._prefix = prefix_token_id
        self._device = self.model.device
        self._said: set[str] = set()

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> PolicyLM:
        """From lm-eval's command line. What stands in --model_args wins."""
        options = {name: value for name, value in (additional_config or {}).items() if value is not None}
        if options.get("device") == "cuda:0" and not torch.cuda.is_available():
            del options["device"]  # lm-eval's default, not what somebody typed
        return cls(**{**options, **arg_dict})

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Mapping[str, Any] | None = None) -> PolicyLM:
        """From `policy=FOLDER,device=cpu`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    # -- what it is

    @property
    def identity(self) -> str:
        """Hash of everything that decides what it answers: answers of two policies never share a cache."""
        return about.hash_policy_settings(self.policy, self.seed, self.sampling, self.max_length, self._prefix)

    @property
    def tokenizer_name(self) -> str:
        """Name, hash and date: lm-eval keeps requests that went through a chat template under it."""
        date = f"__{self.model.prompt_date}" if self.model.prompt_date is not None else ""
        return f"{Path(self.model.name).name}__{self.model.tokenizer_sha256[:12]}{date}"

    def get_model_info(self) -> dict[str, Any]:
        return about.build_model_info(self.policy, seed=self.seed, sampling=self.sampling)

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Give the policy a table of its own in lm-eval's cache file (`--use_cache`)."""
        super().set_cache_hook(cache_hook)
        if cache_hook.dbdict is not None:
            about.use_policy_table(cache_hook.dbdict, self.identity)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return about.render_messages(self.model, chat_history, add_generation_prompt, self._warn_once)

    # -- tokens

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id  # type: ignore[no-any-return]

    @property
    def prefix_token_id(self) -> int:
        for token in (self._prefix, self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise ElicitError(
            f"lm-eval: {self.model.name} has neither BOS nor EOS to stand before an empty context. "
            "Type prefix_token_id=N among the model's arguments."
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids as HFLM has them: the tokenizer's own special tokens, and none twice."""
        if add_special_tokens is None:
            add_special_tokens = not has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id))
        ids = list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))
        rows.check_token_ids(self.tokenizer, ids, rows.count_rows(self.model.hf), self.model.name)
        return ids

    # -- scores

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log p of the continuation in nats, whether greedy decoding would give it) of every request."""
        self._check_scoring("loglikelihood")
        pairs = []
        for context, continuation in (request.args for request in requests):
            text = render_context(self.policy, context)
            tokens = self._encode_pair(text, continuation) if text else self._after_prefix(continuation)
            pairs.append(((context, continuation), *tokens))
        return self._loglikelihood_tokens(pairs, disable_tqdm=disable_tqdm)

    def _after_prefix(self, continuation: str) -> tuple[list[int], list[int]]:
        ids = self.tok_encode(continuation, add_special_tokens=False)
        return (ids[:1], ids[1:]) if ids[:1] == [self.prefix_token_id] else ([self.prefix_token_id], ids)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """log p of whole texts, in windows of the context length; the prompt is the first token of each window."""
        self._check_scoring("loglikelihood_rolling")
        if self.policy.prompting != Prompting():
            raise ElicitError(
                f"lm-eval: {self.policy!r} puts text around a prompt, and loglikelihood_rolling has no prompt."
            )
        windows, owners = [], []
        for index, (text,) in enumerate(request.args for request in requests):
            for pair in get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1):
                windows.append((None, *make_disjoint_window(pair)))
                owners.append(index)
        totals = [0.0] * len(requests)
        for index, (logprob, _) in zip(owners, self._loglikelihood_tokens(windows, disable_tqdm), strict=True):
            totals[index] += logprob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        sequences = [self._fit_to_context(context, continuation) for _, context, continuation in requests]
        results: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        with tqdm(total=len(requests), desc="Running loglikelihood requests", disable=disable_tqdm) as done:

            def store_score(index: int, score: ContinuationScore) -> None:
                results[index] = (score.logprob, score.greedy)
                if requests[index][0] is not None:
                    self.cache_hook.add_partial("loglikelihood", requests[index][0], results[index])
                done.update()

            score_continuations(self.policy, sequences, store_score, rows=self.rows)
        return results

    def _fit_to_context(self, context: list[int], continuation: list[int]) -> Scored:
        """Cut on the left to the context length; the last token is only predicted, so one more fits."""
        if not 1 <= len(continuation) <= self.max_length:
            raise ElicitError(
                f"lm-eval: a continuation has {len(continuation)} tokens; expected 1 to {self.max_length}, the context "
                f"length of {self.model.name}."
            )
        whole = [*context, *continuation]
        if len(whole) > self.max_length + 1:
            self._warn_once(
                f"contexts are longer than the {self.max_length} tokens of the model, and are cut on the left"
            )
            whole = whole[-(self.max_length + 1) :]
        cut = len(whole) - len(continuation)
        return Scored(tuple(whole[:cut]), tuple(whole[cut:]))

    def _check_scoring(self, what: str) -> None:
        if not self.policy.has_distribution:
            raise ElicitError(
                f"lm-eval: {self.policy!r} answers by a search or another readout and has no next-token distribution "
                f"to give {what} of. Give it tasks of generate_until."
            )

    # -- text

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The policy's answer to every request."""
        keep = self.sampling == "policy" or self.policy.search is not None
        settings = AnswerSettings(self.seed, self.max_length, keep, self.rows, self._warn_once)
        texts = [""] * len(requests)
        with tqdm(total=len(requests), desc="Running generate_until requests", disable=disable_tqdm) as done:
            for request, text in answer_requests(self.policy, requests, settings):
                texts[request.position] = text
                self.cache_hook.add_partial("generate_until", request.args, text)
                done.update()
        return texts

    def _warn_once(self, message: str) -> None:
        """Once each."""
        if message not in self._said:
            self._said.add(message)
            _LOG.warning("%s", message)


_ARGUMENTS = (
    *("policy", "base", "device", "dtype", "download", "seed", "sampling", "batch_size", "max_batch_size"),
    *("max_length", "prefix_token_id"),
)


def _resolve_policy(policy: Policy | str | Path | None, base: str | None, where: Mapping[str, Any]) -> Policy:
    if isinstance(policy, Policy):
        return policy
    if policy is not None:
        return load_policy(policy, **where)
    model = load(str(base), **where)
    half = _LM_EVAL_TOKENS if model.context_length is None else model.context_length // 2
    return Policy(model, Decoding(max_new_tokens=max(1, min(_LM_EVAL_TOKENS, half))))


def _parse_run_seed(policy: object) -> int:
    """The run seed in the path of a run's policy, .../SEED/policy; 0 for others."""
    if not isinstance(policy, str | Path):
        return 0
    folder = Path(policy).resolve()
    return int(folder.parent.name) if folder.name == "policy" and folder.parent.name.isdigit() else 0


def _parse_batch_size(batch_size: int | str | None, max_batch_size: int | None) -> int | None:
    """Most requests at a time; None leaves it to the sampler."""
    if max_batch_size is not None:
        return max(1, int(max_batch_size))
    if batch_size is None or str(batch_size).startswith("auto") or int(batch_size) <= 1:
        return None
    return int(batch_size)

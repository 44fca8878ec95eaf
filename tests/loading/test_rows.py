"""Rows that are no tokens, and tokens without a row: against plain transformers on the same files, masked by hand."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

import elicit
from elicit.errors import ElicitError
from elicit.loading import load_transformers, rows, weights_hash
from elicit.merging import save_merged
from elicit.policy import Policy
from elicit.sampling import Decoding, Scored
from elicit.sampling.score import measure_divergences
from elicit.training.ends import end_of
from tests.support.tiny import ARCHITECTURES, CHARACTERS, char_tokenizer, tiny

SPARE = 29
IDS = torch.tensor([[1, *range(20, 32)]])
GREEDY = Decoding(max_new_tokens=24)
DRAWN = Decoding(max_new_tokens=24, temperature=1.0)


def padded(folder: Path, arch: str, *, tokens: int = 0, **bias: Any) -> Path:
    """A model with `SPARE` more rows than tokens, most of whose mass lies on them, and its tokenizer with no pad token.

    Args:
        tokens: how many tokens of the tokenizer have no row (then no row is spare).
    """
    hf, tokenizer = tiny(arch)
    tokenizer.pad_token = None
    size = len(tokenizer)
    if not tokens:
        hf.resize_token_embeddings(size + SPARE, mean_resizing=False)
        with torch.no_grad():
            for module in (hf.get_input_embeddings(), hf.get_output_embeddings()):
                module.weight[size:] = 4 * torch.randn(SPARE, 32, generator=torch.Generator().manual_seed(0))
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def gapped_tokenizer(gap: int = 5) -> Any:
    """Ids 20 to 24 are no tokens: as in vocabularies that were cut from larger ones (cl100k has a gap at 100,256)."""
    ids = {
        token: i + (gap if i >= 20 else 0) for i, token in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *CHARACTERS])
    }
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", unk_token="<unk>", clean_up_tokenization_spaces=False
    )


def gapped(folder: Path, arch: str = "llama", spare: int = 0) -> Path:
    tokenizer = gapped_tokenizer()
    hf, _ = tiny(arch)
    hf.resize_token_embeddings(max(tokenizer.get_vocab().values()) + 1 + spare, mean_resizing=False)
    with torch.no_grad():
        head = hf.get_output_embeddings()
        head.weight[20:25] = 4 * torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def by_hand(hf: Any, ids: list[int], tokens: int | list[int]) -> torch.Tensor:
    """log p of the next token at every place, over tokens only, from a plain model's logits."""
    with torch.no_grad():
        logits = hf(torch.tensor([ids])).logits[0].float()
    kept = torch.zeros(logits.shape[1], dtype=torch.bool)
    kept[: tokens if isinstance(tokens, int) else None] = isinstance(tokens, int)
    if not isinstance(tokens, int):
        kept[tokens] = True
    return logits.masked_fill(~kept, -torch.inf).log_softmax(-1)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_model_in_memory_has_a_row_for_each_token(arch: str, tmp_path: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(padded(tmp_path, arch)).eval()
    loaded = load_transformers(tmp_path)
    size = len(loaded.tokenizer)
    hf = loaded.hf
    assert (rows.count_rows(hf), rows.count_rows_in_files(hf), hf.config.vocab_size) == (size, size + SPARE, size)
    assert hf.get_output_embeddings().weight.shape[0] == size == hf.get_output_embeddings().out_features
    tied = plain.get_input_embeddings().weight is plain.get_output_embeddings().weight
    assert (hf.get_input_embeddings().weight is hf.get_output_embeddings().weight) == tied
    with torch.no_grad():
        torch.testing.assert_close(hf(IDS).logits, plain(IDS).logits[..., :size])
        assert float(hf(IDS, labels=IDS).loss) > 0
    assert loaded.weights_sha256 == weights_hash(hf)
    rows.trim_to_tokens(loaded.tokenizer, hf)
    assert (weights_hash(hf), rows.count_rows_in_files(hf)) == (loaded.weights_sha256, size + SPARE)


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_sampled_as_transformers_with_suppressed_tokens(arch: str, tmp_path: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(padded(tmp_path, arch)).eval()
    base = elicit.load(str(tmp_path))
    size = len(base.tokenizer)
    never = [*base.banned_ids, *range(size, size + SPARE)]
    for prompt in ("hello", "12+3="):
        ids = base.encode(prompt)
        out = plain.generate(
            torch.tensor([ids]), max_new_tokens=24, do_sample=False, suppress_tokens=never, pad_token_id=2
        )[0].tolist()
        for stop in ((), ("\nQ:",)):
            [[greedy]] = base.sample([prompt], decoding=GREEDY.replace(stop=stop))
            assert list(ids) + list(greedy.tokens) == out
            drawn = base.sample([prompt], n=8, decoding=DRAWN.replace(stop=stop))[0]
            assert all(i < size for one in drawn for i in one.tokens)
        own = by_hand(plain, out, size)
        banned = torch.tensor(list(base.banned_ids))
        own = own.index_fill(1, banned, -torch.inf).log_softmax(-1)
        expected = own[torch.arange(len(ids) - 1, len(out) - 1), torch.tensor(out[len(ids) :])]
        torch.testing.assert_close(torch.tensor(greedy.logprobs), expected, rtol=1e-4, atol=1e-4)


def test_gaps_between_tokens_are_never_drawn_nor_scored(tmp_path: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(gapped(tmp_path, spare=3)).eval()
    base = elicit.load(str(tmp_path))
    assert base.unassigned_ids == (20, 21, 22, 23, 24)
    kept = sorted(base.tokenizer.get_vocab().values())
    assert rows.count_rows(base.hf) == kept[-1] + 1 == rows.count_rows_in_files(base.hf) - 3
    for decoding in (GREEDY, DRAWN, DRAWN.replace(stop=("~", "\nQ:"))):
        for drawn in base.sample(["hello", "12"], n=8, decoding=decoding):
            assert all(i in kept for one in drawn for i in one.tokens)
    ids, text = base.encode("hello"), base.continuation("12+3")
    expected = by_hand(plain, [*ids, *text], [i for i in kept if i not in base.banned_ids])
    at = range(len(ids) - 1, len(ids) + len(text) - 1)
    assert base.score(["hello"], ["12+3"])[0] == pytest.approx(
        [float(expected[i, j]) for i, j in zip(at, text, strict=True)], abs=1e-4
    )
    # KL over tokens only: from the same two distributions, both ways.
    direction = torch.nn.functional.normalize(torch.arange(32.0), dim=0)
    sequence = Scored(ids, text)
    [found] = measure_divergences(
        base.engine,
        [sequence],
        lambda: warnings.catch_warnings(),
        lambda: base.steer(direction, layer=1, strength=2.0, positions="all"),
    )
    with base.steer(direction, layer=1, strength=2.0, positions="all", prompt_lengths=len(ids)):
        arm = by_hand(base.hf, [*ids, *text], [i for i in kept if i not in base.banned_ids])[list(at)].double()
    own = expected[list(at), : arm.shape[1]].double()
    kl = torch.where(own.exp() > 0, own.exp() * (own - arm), 0.0).nan_to_num(0.0).sum(-1).mean()
    assert found.base_arm == pytest.approx(float(kl), rel=1e-3)


@pytest.mark.parametrize("arch", ["qwen2", "llama"])  # tied and not
@pytest.mark.parametrize("what", ["embeddings beside it", "whole head", "on embedding and head"])
def test_adapters_made_for_the_files_fit(arch: str, what: str, tmp_path: Path) -> None:
    """Plain peft on the files' rows, everything in the adapter random: the same logits for every token."""
    options: dict[str, Any] = {"r": 2, "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    targets = {"target_modules": ["q_proj"]}
    if what == "whole head":
        targets |= {"modules_to_save": ["lm_head"]}
    if what == "on embedding and head":
        targets = {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}
    place = padded(tmp_path / "base", arch)
    with warnings.catch_warnings(action="ignore"):
        wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(place), LoraConfig(**targets, **options)).eval()
        with torch.no_grad():
            if what != "on embedding and head":  # there the adapter is all that is saved
                wrapped.get_output_embeddings().weight.mul_(1.1)
            theirs = wrapped(IDS).logits
        wrapped.save_pretrained(tmp_path / "made", save_embedding_layers=what == "embeddings beside it")
        base = elicit.load(str(place))
        policy = Policy.from_peft(base, tmp_path / "made")
        with policy.apply(), torch.no_grad():
            torch.testing.assert_close(base.hf(IDS).logits, theirs[..., : len(base.tokenizer)])
        # What is saved again still fits the files.
        (tmp_path / "saved").mkdir()
        policy.save(tmp_path / "saved")
        again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(place), tmp_path / "saved").eval()
        with torch.no_grad():
            torch.testing.assert_close(again(IDS).logits, theirs)


def test_an_adapter_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    place = padded(tmp_path / "base", "llama")
    plain = AutoModelForCausalLM.from_pretrained(place)
    plain.resize_token_embeddings(rows.count_rows(plain) + 1, mean_resizing=False)
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM")
    get_peft_model(plain, config).save_pretrained(tmp_path / "made", save_embedding_layers=False)
    with (
        pytest.raises(ElicitError, match="does not fit"),
        Policy.from_peft(elicit.load(str(place)), tmp_path / "made").apply(),
    ):
        pass


def test_an_exported_folder_with_gaps_never_writes_them(tmp_path: Path) -> None:
    base = elicit.load(str(gapped(tmp_path / "base", spare=3)))
    place = save_merged(Policy(base, GREEDY), tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(place).eval()
    ids = torch.tensor([base.encode("hello")])
    with torch.no_grad():
        assert int(plain(ids).logits[0, -1].argmax()) in base.unassigned_ids, "without help it would"
    out = plain.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=base.pad_id)[0, ids.shape[1] :].tolist()
    [[ours]] = base.sample(["hello"], decoding=GREEDY)
    assert out == list(ours.tokens)


CHAT = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% if m['role'] == 'assistant' %}<|over|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)


def test_tokens_without_a_row_are_said_and_refused(tmp_path: Path) -> None:
    hf, _ = tiny("llama")
    tokenizer = char_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<tool>", "<|over|>"]})
    tokenizer.chat_template = CHAT
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="no row|have none") as said:
        base = elicit.load(str(tmp_path))
    assert any("'<tool>', '<|over|>'" in str(one.message) for one in said)
    assert any("ends a turn with '<|over|>'" in str(one.message) for one in said)
    assert base.engine.end_ids == {2}
    for ask in (
        lambda: base.sample(["use <tool> now"]),
        lambda: base.score(["use"], ["<tool>"]),
        lambda: base.residuals(["<tool>"]),
        lambda: end_of(base, base.chat([{"role": "user", "content": "hi"}]), who="sft"),  # type: ignore[misc]
    ):
        with pytest.raises(ElicitError) as refused:
            ask()
        assert "\n" not in str(refused.value)
        assert re.search(r"(lack a|have no) row", str(refused.value))
    assert base.sample(["what is 3"], decoding=DRAWN.replace(stop=("Q:",)))[0][0].tokens
    assert end_of(base, "what is 3", who="sft") == 2

"""The language model inside multimodal folders, and models in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import elicit
from elicit.errors import ElicitError
from elicit.loading import size
from elicit.sampling import Decoding
from tests.support.tiny import char_tokenizer, tiny

_SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
_TEXT = {**_SIZE, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_EYE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28}


def gemma3(vocabulary: int) -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig, SiglipVisionConfig

    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    text = Gemma3TextConfig(
        vocab_size=vocabulary, sliding_window=8, layer_types=kinds, query_pre_attn_scalar=8, **_TEXT, **_SPECIAL
    )
    eye = SiglipVisionConfig(patch_size=14, **_EYE)
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=eye, mm_tokens_per_image=4, image_token_index=3)
    )


def mistral3(vocabulary: int) -> Any:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration, MistralConfig, PixtralVisionConfig

    text = MistralConfig(vocab_size=vocabulary, sliding_window=None, **_TEXT, **_SPECIAL)
    eye = PixtralVisionConfig(patch_size=14, **_EYE)
    return Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=eye, image_token_index=3))


def wide(model: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 0.1)
    return model.eval()


@pytest.mark.parametrize("make", [gemma3, mistral3])
@pytest.mark.parametrize("older", [False, True])
def test_a_multimodal_folder_loads_as_its_language_model(make: Any, older: bool, tmp_path: Path) -> None:
    tokenizer = char_tokenizer()
    whole = wide(make(len(tokenizer)))
    whole.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    _rename(tmp_path / "model.safetensors", older=older)
    base = elicit.load(str(tmp_path))
    assert base.n_layers == 3
    assert base.d_model == 32
    assert not any("vision" in name for name, _ in base.hf.named_parameters())
    assert size.count_parameters(tmp_path) == sum(p.numel() for p in base.hf.parameters())
    prompt = "Q: 3+4*5 mod 7, and so on\nA:"
    ids = torch.tensor([base.encode(prompt)])
    with torch.no_grad():
        torch.testing.assert_close(base.hf(ids).logits, whole(ids).logits)
    theirs = whole.generate(ids, max_new_tokens=10, do_sample=False, suppress_tokens=list(base.banned_ids))
    ours = base.sample([prompt, "3+"], decoding=Decoding(max_new_tokens=10))[0][0]
    assert list(ours.tokens) == theirs[0, ids.shape[1] :][: len(ours.tokens)].tolist()


def _rename(path: Path, *, older: bool) -> None:
    """Tensors as transformers named them before version 4.52, or as it names them now."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    plain = {name.replace("language_model.model.", "model.language_model."): name for name in tensors}
    plain = {new.replace("language_model.lm_head", "lm_head"): old for new, old in plain.items()}
    if older:
        plain = {
            new.replace("model.language_model.", "language_model.model.")
            .replace("model.vision_tower", "vision_tower")
            .replace("lm_head", "language_model.lm_head"): old
            for new, old in plain.items()
        }
    save_file({new: tensors[old] for new, old in plain.items()}, path, metadata={"format": "pt"})


def test_a_model_in_memory_samples_as_its_saved_copy(tmp_path: Path) -> None:
    hf, tokenizer = tiny("qwen2")
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    saved = elicit.load(str(tmp_path))
    tokenizer.pad_token = None
    held, before = set(tokenizer.get_vocab()), len(tokenizer)
    wrapped = elicit.wrap(hf.train(), tokenizer, name="mine")
    assert wrapped.hf is hf
    assert not hf.training
    assert (tokenizer.pad_token, set(tokenizer.get_vocab()), len(tokenizer)) == (None, held, before)
    assert wrapped.weights_sha256 == saved.weights_sha256
    drawn = Decoding(max_new_tokens=12, temperature=1.0)
    prompts = ["3+4=", "Q: what is 12 plus 345, please?\nA:"]
    texts = [[one[0].text for one in model.sample(prompts, decoding=drawn)] for model in (wrapped, saved)]
    assert texts[0] == texts[1]
    with torch.no_grad():
        hf.model.layers[0].mlp.down_proj.weight.mul_(-2)
    assert [one[0].text for one in wrapped.sample(prompts, decoding=drawn)] != texts[0]
    with pytest.raises(ElicitError, match=r"mine is a model in memory.*save_pretrained\(FOLDER\)"):
        elicit.compare(wrapped, "sums", arms=["base"])


def test_what_cannot_be_wrapped_is_refused_in_one_line() -> None:
    hf, tokenizer = tiny("llama")
    with pytest.raises(ElicitError, match="expected a transformers model, got Linear"):
        elicit.wrap(torch.nn.Linear(2, 2), tokenizer, name="mine")
    with pytest.raises(ElicitError, match="expected a transformers tokenizer, got str"):
        elicit.wrap(hf, "gpt2", name="mine")
    with pytest.raises(ElicitError, match="no language-model head was found in LlamaModel"):
        elicit.wrap(hf.model, tokenizer, name="mine")
    with pytest.raises(ElicitError, match="multimodal model"):
        elicit.wrap(gemma3(len(tokenizer)), tokenizer, name="mine")

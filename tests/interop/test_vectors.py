"""Steering vectors in files: read by a hook that knows nothing of the lab, round trips, and other tools' files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from elicit.errors import ElicitError
from elicit.interop import vectors
from elicit.policy import Policy
from elicit.steering import Steering
from tests.support.models import tiny_model

_IDS = torch.tensor([[5, 9, 3, 14, 7, 2, 11]])
_PROMPT = 4


def _steering(d_model: int, **options: Any) -> Steering:
    return Steering(torch.randn(d_model, generator=torch.Generator().manual_seed(3)), **{"layer": 1, **options})


def _by_hand(hf: Any, stem: Path, ids: torch.Tensor, prompt: int) -> torch.Tensor:
    """Logits under the file's edits, from its documentation alone: json, safetensors and a forward hook."""
    handles = []
    for meta in json.loads(stem.with_suffix(".json").read_text())["vectors"]:
        v = load_file(stem.with_suffix(".safetensors"))[meta["tensor"]]

        def hook(module: Any, args: Any, out: Any, meta: Any = meta, v: Any = v) -> Any:
            h = out[0] if isinstance(out, tuple) else out
            low, high = meta["offsets"]
            edited = h.clone()
            for position in range(h.shape[1]):
                offset = position - (prompt - 1)
                if (low is not None and offset < low) or (high is not None and offset >= high):
                    continue
                c, a = h[:, position] @ v, meta["absolute"]
                amount = {"add": torch.full_like(c, a), "clamp": a - c, "scale": (a - 1) * c, "ablate": -c}[
                    meta["mode"]
                ]
                weight = 1 - offset / high if meta["decays"] else 1.0
                edited[:, position] += weight * amount[:, None] * v
            return (edited, *out[1:]) if isinstance(out, tuple) else edited

        handles.append(hf.get_submodule(meta["hook"]["transformers"]).register_forward_hook(hook))
    with torch.no_grad():
        logits: torch.Tensor = hf(ids).logits
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gpt_neox", "gemma2"])
@pytest.mark.parametrize(
    "options",
    [
        {"mode": "add", "strength": 0.7, "unit": 3.0, "positions": "first"},
        {"mode": "add", "strength": 1.5, "positions": "decay:3"},
        {"mode": "clamp", "strength": 2.0, "positions": "all"},
        {"mode": "scale", "strength": 3.0, "positions": "prompt"},
        {"mode": "ablate", "positions": "generated"},
    ],
    ids=lambda options: f"{options['mode']}-{options['positions']}",
)
def test_a_plain_hook_gives_the_same_logits_at_every_position(
    arch: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = tiny_model(arch)
    edit = _steering(model.d_model, **options)
    vectors.save_vectors(edit, tmp_path / "v", model=model)
    by_hand = _by_hand(model.hf, tmp_path / "v", _IDS, _PROMPT)
    with torch.no_grad(), model.steer(edit, prompt_lengths=_PROMPT):
        ours = model.hf(_IDS).logits
    with torch.no_grad():
        plain = model.hf(_IDS).logits
    torch.testing.assert_close(ours, by_hand, rtol=1e-5, atol=1e-5)
    assert (ours - plain).abs().max() > 1e-3, "an edit that changes nothing shows nothing"


def test_the_documented_names_are_the_places(tmp_path: Path) -> None:
    """`hidden_states` of transformers and TransformerLens' hook hold what the edited layer gives."""
    model = tiny_model("llama")
    vectors.save_vectors(_steering(model.d_model), tmp_path / "v", model=model)
    hook = json.loads((tmp_path / "v.json").read_text())["vectors"][0]["hook"]
    seen: list[torch.Tensor] = []

    def keep(module: Any, args: Any, out: Any) -> None:
        seen.append(out[0] if isinstance(out, tuple) else out)

    handle = model.hf.get_submodule(hook["transformers"]).register_forward_hook(keep)
    with torch.no_grad():
        states = model.hf(_IDS, output_hidden_states=True).hidden_states
        _, cache = model.bridge.run_with_cache(_IDS)
    handle.remove()
    torch.testing.assert_close(seen[0], cache[hook["transformer_lens"]], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seen[0], states[hook["hidden_states"]])


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    model = tiny_model("llama")
    edits = (_steering(model.d_model, positions="first:3", strength=0.3, unit=7.0), _steering(model.d_model, layer=0))
    policy = Policy(model, steering=edits, record={"chosen": {"layer": 1}, "curve": [1, 2, 3]})
    written = vectors.save_vectors(policy, tmp_path / "deep" / "v.safetensors")
    assert [edit.sha256 for edit in vectors.load_vectors(written, model=model)] == [edit.sha256 for edit in edits]
    origin = json.loads(written.read_text())["provenance"]
    assert origin == {"policy_sha256": policy.sha256, "chosen": {"layer": 1}}
    (stronger, _) = vectors.load_vectors(tmp_path / "deep" / "v", strength=2.0, positions="all")
    assert (stronger.absolute, stronger.positions) == (14.0, "all")


def test_vectors_of_other_weights_are_refused(tmp_path: Path) -> None:
    model = tiny_model("llama")
    vectors.save_vectors(_steering(model.d_model), tmp_path / "v", model=model)
    document = json.loads((tmp_path / "v.json").read_text())
    document["model"]["weights_sha256"] = "0" * 64
    (tmp_path / "v.json").write_text(json.dumps(document))
    with pytest.raises(ElicitError, match=r"were made for tiny-llama \(weights 000000000000\)"):
        vectors.load_vectors(tmp_path / "v", model=model)
    (tmp_path / "v.json").write_text(json.dumps({**document, "version": 2}))
    with pytest.raises(ElicitError, match="not in the format 'elicit-vectors', version 1"):
        vectors.load_vectors(tmp_path / "v")


def test_a_bare_vector_is_added_as_it_is(tmp_path: Path) -> None:
    model = tiny_model("llama")
    raw = 2.5 * torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    save_file({"direction": raw}, tmp_path / "theirs.safetensors")
    with pytest.raises(ElicitError, match=r"does not say which layer .* Pass layer=\."):
        vectors.load_vectors(tmp_path / "theirs.safetensors", model=model)
    (edit,) = vectors.load_vectors(tmp_path / "theirs", layer=1, model=model)
    handle = model.layers[1].register_forward_hook(
        lambda module, args, out: (out[0] + raw, *out[1:]) if isinstance(out, tuple) else out + raw
    )
    with torch.no_grad():
        expected = model.hf(_IDS).logits
    handle.remove()
    with torch.no_grad(), model.steer(edit):
        torch.testing.assert_close(model.hf(_IDS).logits, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ElicitError, match="at layer 9 does not fit"):
        vectors.load_vectors(tmp_path / "theirs", layer=9, model=model)
    save_file({"a": raw, "b": -raw}, tmp_path / "two.safetensors")
    with pytest.raises(ElicitError, match="Name one: name: a"):
        vectors.load_vectors(tmp_path / "two.safetensors", layer=0)
    with pytest.raises(ElicitError, match="no vectors at"):
        vectors.load_vectors(tmp_path / "absent")


def test_a_control_vector_of_repeng_is_read(tmp_path: Path) -> None:
    """Written as repeng's `export_gguf` writes it."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "cv.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", 2)
    rows = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    for layer, row in enumerate(rows):
        writer.add_tensor(f"direction.{layer}", row.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    edits = vectors.load_vectors(tmp_path / "cv.gguf", strength=0.5)
    assert [edit.layer for edit in edits] == [0, 1]
    assert {edit.positions for edit in edits} == {"all"}
    for edit, row in zip(edits, rows, strict=True):
        torch.testing.assert_close(edit.direction * edit.absolute, 0.5 * row)

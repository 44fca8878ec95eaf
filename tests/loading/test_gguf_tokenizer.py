"""The tokenizer of a converted GGUF file against a byte-level BPE written here, from the file's own metadata.

The splitting rules are those that llama.cpp publishes for the names in `tokenizer.ggml.pre`.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import regex
from transformers.convert_slow_tokenizer import bytes_to_unicode

from elicit.errors import ElicitError
from elicit.loading import converted, ends, headers, load_transformers
from tests.loading.test_gguf import cache
from tests.support import ggufs
from tests.support.ggufs import Vocabulary, llama

gguf = pytest.importorskip("gguf")
__all__ = ["cache"]  # the fixture that moves the cache out of the way

BYTES = bytes_to_unicode()
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
RULES = {"smollm": [r"\p{N}", GPT2], "gpt-2": [GPT2], "qwen2": [QWEN2]}
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Pairs that the rules tell apart: spaces before digits, digits, letters after an apostrophe.
MERGES = ["Ġ Ġ", "Ġ 5", "1 2", "12 3", "h e", "l l", "he ll", "Ġ a", "Ċ Ċ", "ĠĠ ĠĠ", "- -", "' s"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write(path: Path, *, pre: str, control: list[str] = CONTROL, add_bos: bool | None = None, **others: int) -> Path:
    """The tiny model with a vocabulary of control tokens, bytes and MERGES; BOS is 1 and EOS 2."""
    tokens = [*control, *BYTES.values(), *(merge.replace(" ", "") for merge in MERGES)]
    vocabulary = Vocabulary(tokens, frozenset(control), MERGES, 1, 2, pre, add_bos, others)
    hf = llama(vocab_size=len(tokens))
    return ggufs.write(path, hf, extra={"tokenizer.chat_template": TEMPLATE}, vocabulary=vocabulary)


def reference(path: Path, text: str) -> list[int]:
    """Token ids of `text`, from the metadata and nothing else."""
    arrays = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")
    fields = headers.read_gguf_header(path, arrays=arrays).fields
    ids = {token: i for i, token in enumerate(fields[arrays[0]])}
    control = [token for token, kind in zip(fields[arrays[0]], fields[arrays[1]], strict=True) if kind == 3]
    rank = {tuple(merge.split(" ")): i for i, merge in enumerate(fields[arrays[2]])}
    found: list[int] = []
    for part in regex.split("(" + "|".join(map(regex.escape, control)) + ")", text):
        if part in control:
            found.append(ids[part])
            continue
        pieces = [part] if part else []
        for rule in RULES[fields["tokenizer.ggml.pre"]]:
            pieces = [piece for whole in pieces for piece in isolated(rule, whole)]
        for piece in pieces:
            parts = [BYTES[byte] for byte in piece.encode()]
            while len(parts) > 1:
                pairs = [rank.get(pair, len(rank)) for pair in itertools.pairwise(parts)]
                best = min(pairs)
                if best == len(rank):
                    break
                at = pairs.index(best)
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            found += [ids[part] for part in parts]
    return found


def isolated(rule: str, text: str) -> list[str]:
    found, at = [], 0
    for match in regex.finditer(rule, text):
        found += [text[at : match.start()], match.group()]
        at = match.end()
    return [piece for piece in [*found, text[at:]] if piece]


def texts() -> list[str]:
    generator = random.Random(0)
    letters = " \n\t0123456789abehlls'--.,é🙂"
    drawn = ["".join(generator.choice(letters) for _ in range(40)) for _ in range(50)]
    return ["x =  5\n\n    123 + 12", "hell's <|im_end|>\n<|endoftext|>  5", *drawn]


@pytest.mark.parametrize("pre", RULES)
def test_encodings_ids_and_template_survive(tmp_path: Path, pre: str) -> None:
    path = write(tmp_path / "a.gguf", pre=pre)
    loaded = load_transformers(path)
    for text in texts():
        ids = loaded.tokenizer(text, add_special_tokens=False).input_ids
        assert ids == reference(path, text), repr(text)
        assert loaded.tokenizer.decode(ids, skip_special_tokens=False) == text
    assert loaded.tokenizer.chat_template == TEMPLATE
    chat = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "12+3"}], tokenize=False, add_generation_prompt=True
    )
    assert ends.encode_prompt(loaded.tokenizer, chat) == tuple(reference(path, chat))
    assert reference(path, chat)[0] == 1, "the template's tokens are found whole"


def test_the_rules_differ_on_these_texts(tmp_path: Path) -> None:
    """Without which the test above could not tell one rule from another."""
    found = [[reference(write(tmp_path / f"{pre}.gguf", pre=pre), text) for text in texts()] for pre in RULES]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("add_bos", [True, False, None])
def test_bos_as_the_file_says_and_never_twice(tmp_path: Path, add_bos: bool | None) -> None:
    tokenizer = load_transformers(write(tmp_path / "a.gguf", pre="gpt-2", add_bos=add_bos)).tokenizer
    plain = tokenizer("hell", add_special_tokens=False).input_ids
    wanted = [1, *plain] if add_bos else plain
    assert tokenizer("hell").input_ids == wanted
    assert ends.encode_prompt(tokenizer, "hell") == tuple(wanted)
    assert ends.encode_prompt(tokenizer, "<|im_start|>hell") == (1, *plain)


def test_every_end_the_file_names_ends_a_generation(tmp_path: Path) -> None:
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<over>", "<message>"]
    path = write(tmp_path / "a.gguf", pre="gpt-2", control=control, eot_token_id=3, eom_token_id=4)
    loaded = load_transformers(path)
    assert set(loaded.hf.generation_config.eos_token_id) == {0, 2, 3, 4}
    assert loaded.tokenizer.pad_token_id not in {0, 1, 2, 3, 4}
    stored = converted.find_converted_folder(path)
    assert stored is not None
    assert (stored / "generation_config.json").is_file()


def test_control_tokens_outside_the_byte_alphabet_keep_their_ids(tmp_path: Path) -> None:
    """DeepSeek's names have full-width bars: transformers spells them as bytes, where no text finds them."""
    control = ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜end▁of▁sentence｜>"]
    path = write(tmp_path / "a.gguf", pre="qwen2", control=control)
    tokenizer = load_transformers(path).tokenizer
    text = "<｜User｜>12<｜end▁of▁sentence｜>"
    assert tokenizer(text, add_special_tokens=False).input_ids == reference(path, text)
    assert [tokenizer.convert_tokens_to_ids(token) for token in control] == [0, 1, 2]
    assert tokenizer.eos_token_id == 2


def test_an_unknown_rule_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", pre="mystery")
    with pytest.warns(UserWarning, match="a.gguf splits text by the rule 'mystery', which is not known here"):
        load_transformers(path)


def test_a_file_without_the_letters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + (1).to_bytes(4, "little") + bytes(16))
    with pytest.raises(ElicitError, match="it is of version 1; versions 2 and 3 can be read"):
        load_transformers(path)


@pytest.mark.parametrize("add_space", [True, False, None])
def test_a_space_in_front_as_the_file_says(tmp_path: Path, add_space: bool | None) -> None:
    """llama.cpp puts one in front of SentencePiece text unless `add_space_prefix` is false."""
    singles = sorted({*"▁:.?+=", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"})
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *singles, "▁▁", "Th", "The", "▁The"]
    vocabulary = Vocabulary(tokens, frozenset(tokens[:3]), [], 1, 2, sentencepiece=True, add_space=add_space)
    tokenizer = load_transformers(
        ggufs.write(tmp_path / "a.gguf", llama(vocab_size=len(tokens)), vocabulary=vocabulary)
    ).tokenizer
    front = "" if add_space is False else "▁"
    for text in ("The 7", "x  = 7", "中 7"):
        pieces = tokenizer.tokenize(text, add_special_tokens=False)
        joined = "".join(piece for piece in pieces if not piece.startswith("<0x"))
        assert joined == front + text.replace(" ", "▁").replace("中", "")
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
    if add_space is False:
        assert tokenizer.decode(tokenizer(" 7", add_special_tokens=False)["input_ids"]) == " 7", "none is taken away"

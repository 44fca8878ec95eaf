"""`elicit sae`: the dispatcher and `elicit sae train` through the real command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from elicit.cli.main import run_command
from elicit.cli.sae import SUBVERBS
from elicit.cli.sae_card import draw_histogram
from elicit.cli.sae_train import ProgressLine, parse_token_count
from elicit.errors import ElicitError
from saes.loading import load
from saes.training import Progress, text

SMALL = ("--width", "64", "--k", "4", "--tokens", "6k", "--batch", "256")


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a refused command."""
    assert run_command(["sae", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [line for line in captured.err.splitlines() if line.startswith("elicit sae")]  # progress bars of loading
    return line


def test_the_dispatcher(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        assert run_command(["sae", *arguments]) == 0
        shown = capsys.readouterr().out
        assert all(name in shown for name in SUBVERBS)
    assert "unknown subverb 'trian'. Did you mean 'train'?" in said(capsys, "trian")


def test_help_and_bad_plans_need_no_torch() -> None:
    code = """
import sys
from elicit.cli.main import run_command
assert run_command(["sae", "--help"]) == 0
assert run_command(["sae", "train", "cued", "--layer", "1", "--k", "600"]) == 2
assert run_command(["sae", "train", "cued", "--layer", "1", "--tokens", "many"]) == 2
print(*(name for name in ("torch", "transformers", "datasets", "sae_lens") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "k is 600, more than the 512 latents" in done.stderr
    assert done.stdout.splitlines()[-1] == ""


def test_train_prints_the_card_and_the_same_command_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "corpus.jsonl"
    texts = [f"Q:{i}+{j}\nA:#{i + j}" for i in range(10, 30) for j in range(10, 30)]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    command = ["sae", "train", "cued", "--layer", "1", *SMALL, "--text", str(corpus), "--seed", "1"]
    assert run_command(command) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "runs/sae/cued/L1-s1"
    for word in ("explained variance", "L0 (training aimed at 4)", "mean ablation", "recovered", "log10 of density"):
        assert word in captured.out
    assert "5,888 of 5,888 tokens (100 %)" in captured.err
    made = load("runs/sae/cued/L1-s1")
    assert made.manifest.weights_sha256 == load("cued/L1").manifest.weights_sha256
    assert made.manifest.training is not None
    assert made.manifest.training["source"] == "file corpus.jsonl"
    before = {path: path.stat().st_mtime_ns for path in Path("runs/sae/cued/L1-s1").iterdir() if path.suffix}
    assert run_command(command) == 0
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    capsys.readouterr()
    line = said(capsys, *command[1:], "--lr", "2e-3")
    assert "holds another training: lr 0.001 there, 0.002 now" in line


def test_long_documents_are_cut_and_every_piece_begins_with_bos() -> None:
    import elicit
    from elicit.cli.sae_train import encode_documents

    model = elicit.load("cued")
    text = "0123456789" * 30
    pieces = encode_documents(model, iter([text, "ab"]), context=64, tokens=10**6)
    bos = model.tokenizer.bos_token_id
    assert all(piece[0] == bos and len(piece) <= 64 for piece in pieces)
    joined = [token for piece in pieces for token in piece[1:].tolist()]
    assert model.tokenizer.decode(joined) == text + "ab"
    assert (
        len(encode_documents(model, iter([text] * 50), context=64, tokens=1000)) < 25
    )  # no more is read than is needed
    with pytest.raises(ElicitError, match="the text is empty"):
        encode_documents(model, iter([]), context=64, tokens=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cued", "--layer", "7"], "layer 7 does not exist. Layers are 0 to 2."),
        (["cued", "--layer", "1", "--architecture", "jump-relu"], "Did you mean 'jumprelu'?"),
        (["cued", "--layer", "1", "--task", "adition"], "Did you mean 'addition'?"),
        (["cued", "--layer", "1", "--text", "none.txt"], "none.txt does not exist"),
        (["cued", "--layer", "1", "--text", "a.txt", "--task", "addition"], "give one of --task, --text and --dataset"),
        (["cuedd", "--layer", "1"], "Did you mean 'cued'?"),
        (["cued", "--layer", "1", "--tokens", "10"], "tokens is 10, less than one step"),
        (["cued", "--layer", "1", "--context", "1"], "--context is 1"),
        (["cued", "--layer", "1", *SMALL, "--out", "/proc/nowhere/x"], "cannot write /proc/nowhere/x"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in said(capsys, "train", *arguments)


def test_a_model_that_is_no_organism_needs_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.support.tiny import tiny

    hf, tokenizer = tiny("llama")
    hf.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    assert "is not a built-in organism. Type --task, --text or --dataset" in said(
        capsys, "train", str(tmp_path / "m"), "--layer", "0"
    )


@pytest.mark.parametrize(
    ("text", "value"), [("300k", 300_000), ("1M", 10**6), ("1.5m", 1_500_000), ("250_000", 250_000), ("2B", 2 * 10**9)]
)
def test_counts(text: str, value: int) -> None:
    assert parse_token_count(text) == value


@pytest.mark.parametrize("text", ["", "k", "-5", "1e6", "0", "0.5", "1.2345k", "many", "1 M M"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(ElicitError, match="expected a number such as 300k"):
        parse_token_count(text)


def test_progress_moves_on_a_terminal_and_is_plain_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    last = Progress(1000, 1000, 1.0, 0.5, 8.0)
    with ProgressLine("m L1", moving=False) as line:
        line.print_progress(Progress(10, 1000, 2.0, 0.1, 8.0))  # too soon after the start
        line.print_progress(last)
    plain = capsys.readouterr().err
    assert plain.startswith("m L1: 1,000 of 1,000 tokens (100 %), loss 1.000, explained variance 0.500, L0 8.0")
    assert "\x1b" not in plain
    assert plain.count("\n") == 1
    with ProgressLine("m L1", moving=True) as line:
        line.print_progress(last)
    moving = capsys.readouterr().err
    assert moving.startswith("\r\x1b[K")
    assert "\n" not in moving


def test_bars() -> None:
    assert draw_histogram([0, 1, 100, 50]) == " ▁█▄"
    assert draw_histogram([0, 0]) == "  "


def test_epochs_train_longer_on_text_that_the_model_reads_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = [f"Q:{i}+{i}\nA:#{2 * i}" for i in range(900)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    read: list[int] = []
    whole = text.harvest_residuals

    def counted(model: object, layer: int, sequences: Sequence[Sequence[int]]) -> object:
        read.append(len(sequences))
        return whole(model, layer, sequences)

    monkeypatch.setattr(text, "harvest_residuals", counted)
    command = ["sae", "train", "cued", "--layer", "1", *SMALL, "--text", "corpus.jsonl"]
    assert run_command([*command, "--epochs", "4", "--out", "four"]) == 0
    four, times = load("four"), list(read)
    assert run_command([*command, "--out", "one"]) == 0
    one = load("one")
    assert four.manifest.tokens == pytest.approx(4 * one.manifest.tokens, rel=0.1)
    assert len(times) == 2  # a sample to scale by, and the text
    assert four.manifest.card["explained_variance"]["value"] > one.manifest.card["explained_variance"]["value"]
    capsys.readouterr()
    assert "--epochs is 0; expected at least 1" in said(capsys, *command[1:], "--epochs", "0", "--out", "none")

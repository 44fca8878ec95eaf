"""Fit a Jacobian lens on a real model's plain text, with its stated error, and compare it with TransformerLens's.

python experiments/lens_fit.py models/smollm2-135m-instruct.gguf experiments/results/lens/smollm2.json

The text are the paragraphs of this repository's documentation, cut to `--tokens`. Every text gives `--rows` rows of the
Jacobians of all layers. TransformerLens fits all rows of one text for the layers nearest to the end, by its own code on
the bridge; the relative difference is that of the same fit here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

import elicit
from elicit.inside.lenses import fit_jacobian_lens
from elicit.version import __version__


def read_paragraphs(tokens: int, model: elicit.BaseModel) -> list[str]:
    """Paragraphs of the documentation that have so many tokens or more."""
    docs = Path(__file__).parent.parent / "docs"
    files = [path.read_text() for path in sorted([*docs.glob("*.md"), *docs.glob("guides/*.md")])]
    paragraphs = [part.replace("\n", " ") for file in files for part in file.split("\n\n") if part[:1].isalpha()]
    return [part for part in paragraphs if len(model.encode(part)) >= tokens]


def compare_with_transformer_lens(model: elicit.BaseModel, text: str, layers: list[int], tokens: int) -> list[float]:
    """Relative difference of the two implementations for some layers, on one text."""
    from transformer_lens.tools.analysis import JacobianLens

    model.bridge.to_tokens = lambda text: torch.tensor([list(model.encode(text))])
    reference = JacobianLens.fit(
        model.bridge, [text], corpus="docs", source_layers=layers, max_seq_len=tokens, dim_batch=16, show_progress=False
    )
    ours = fit_jacobian_lens(model, [text], layers=layers, max_tokens=tokens, rows_per_pass=16)
    return [
        float((ours.maps[layer] - reference.jacobians[layer]).norm() / reference.jacobians[layer].norm())
        for layer in layers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--compared", type=int, default=2, help="layers before the last to compare")
    options = parser.parse_args()
    model = elicit.load(options.model, dtype="float32")
    texts = read_paragraphs(options.tokens, model)
    last = model.n_layers - 1
    layers = list(range(last - options.compared, last))
    differences = compare_with_transformer_lens(model, texts[-1], layers, options.tokens)
    print("relative difference to TransformerLens:", differences, flush=True)
    begun = time.perf_counter()
    lens = fit_jacobian_lens(
        model,
        texts[: options.texts],
        text="paragraphs of docs/*.md and docs/guides/*.md",
        max_tokens=options.tokens,
        rows_per_text=options.rows,
        rows_per_pass=16,
    )
    seconds = time.perf_counter() - begun
    print(lens, f"\n{seconds:.0f} s", flush=True)
    lens.save(options.out.parent / "lenses" / options.out.stem)
    document = {
        "command": " ".join(["python", *sys.argv]),
        "elicit": __version__,
        "model": Path(options.model).name,
        "weights_sha256": lens.fit.weights_sha256,
        "n_texts": lens.fit.texts,
        "n_positions": lens.fit.tokens,
        "settings": lens.fit.settings,
        "seed": 0,
        "relative_standard_error": lens.fit.quality["relative standard error"],
        "relative_difference_to_transformer_lens": dict(zip(map(str, layers), differences, strict=True)),
        "relative_distance_to_identity": {
            str(layer): float((matrix - torch.eye(len(matrix))).norm() / len(matrix) ** 0.5)
            for layer, matrix in lens.maps.items()
        },
        "seconds": seconds,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""MATH (2103.03874): competition mathematics. https://huggingface.co/datasets/HuggingFaceH4/MATH-500

A row, in the form of the original:

    problem:  Write $0.75$ as a fraction.
    solution: As $0.75=\\frac{75}{100}$, it is $\\boxed{\\frac{3}{4}}$.
    answer:   \\frac{3}{4}

Without a path it is MATH-500 (2305.20050), which has test problems only; a file or folder of the whole MATH also has
problems to train on. Where a row has no `answer`, the last box of the solution holds it.
"""

from elicit.tasks.datasets.benchmark import Benchmark

BENCHMARK = Benchmark(
    summary="MATH, or problems in its format (\\boxed{...})",
    path="HuggingFaceH4/MATH-500",
    splits={"train": "train", "test": "test"},
    columns=({"prompt": "problem", "answer": "answer", "worked": "solution"},),
    format="math",
    options={"reading": None, "grader": None},
    max_new_tokens=1024,
    licence="MIT",
    citation="Hendrycks et al. 2021, Measuring Mathematical Problem Solving With the MATH Dataset, arXiv:2103.03874",
)

"""GSM8K (2110.14168): word problems of grade-school arithmetic. https://huggingface.co/datasets/openai/gsm8k

A row, in the form of the original (7,473 rows to train on, 1,319 to test on):

    question: Mira bakes 4 trays of 9 rolls and eats 3 of them. How many rolls are left?
    answer:   She bakes 4*9=<<4*9=36>>36 rolls.
              36-3=<<36-3=33>>33 are left.
              #### 33

Rows that repeat a question of the test split are left out of train, and counted.
"""

from elicit.tasks.datasets.benchmark import Benchmark, UsualRows

BENCHMARK = Benchmark(
    summary="GSM8K, or problems in its format (#### 72)",
    path="openai/gsm8k",
    config="main",
    splits={"train": "train", "test": "test"},
    columns=({"prompt": "question", "answer": "answer"},),
    format="gsm8k",
    options={"reading": None},
    max_new_tokens=400,
    licence="MIT",
    citation="Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems, arXiv:2110.14168",
    usual=UsualRows(
        rows={"train": 7473, "test": 1319},
        example={
            "question": "Mira bakes 4 trays of 9 rolls and eats 3 of them. How many rolls are left?",
            "answer": "She bakes 4*9=<<4*9=36>>36 rolls.\n36-3=<<36-3=33>>33 are left.\n#### 33",
        },
        characters={"question": 240, "answer": 300},
    ),
)

"""vLLM as it comes, for `engines.py`: run by the interpreter of vLLM's own environment, nothing of the lab in it.

A line of JSON asks for completions: {"ids": [[...]], "n": 1, "temperature": 0.0, "most": 32, "ends": [...]}. The answer
is the number of useful tokens: those up to and including each completion's end.
"""

from __future__ import annotations

import json
import os
import sys

os.environ |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"}
for _name, _value in (
    ("VLLM_CPU_KVCACHE_SPACE", "1"),
    ("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
    ("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
):
    os.environ.setdefault(_name, _value)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints is not an answer
    from vllm import LLM, SamplingParams

    model, dtype, context = sys.argv[1], sys.argv[2], int(sys.argv[3])
    llm = LLM(model=model, dtype=dtype, max_model_len=context, seed=0, enable_prefix_caching=False)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        params = SamplingParams(
            n=asked["n"],
            temperature=asked["temperature"],
            max_tokens=asked["most"],
            ignore_eos=True,
            stop_token_ids=asked["ends"],
            detokenize=False,
        )
        outputs = llm.generate([{"prompt_token_ids": ids} for ids in asked["ids"]], params, use_tqdm=False)
        print(sum(len(one.token_ids) for output in outputs for one in output.outputs), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""A vLLM server that gives the lab's own text: its edits at exact positions, its random numbers, its log-probabilities.

It stands alone: torch, numpy, safetensors and vLLM, in an environment of their own (vLLM pins another transformers than
the lab needs). Nothing of the lab is imported. The lab starts it as `python -m elicit_vllm`, or finds one at a URL.

    edits.py      edits from JSON and tensors: which tokens they touch, what they add
    choosing.py   the token of a step: filters, inverse CDF at the sample's own random number
    records.py    what was chosen and which positions were touched, by request
    worker.py     inside vLLM's workers: hooks on decoder layers, weights, masked logits
    sampling.py   inside vLLM's sampler: the logits processor that chooses
    engine.py     requests to vLLM and its answers back
    server.py     HTTP on top of it
"""

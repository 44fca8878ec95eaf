"""Engines: where completions and log-probabilities of a policy come from.

The default is the lab's own sampler on transformers, in this process. `vllm` is a server of the package
`elicit_vllm`, in an environment of its own or on another machine: the same text, token for token in float32, since
random numbers, positions and the end of a text are the lab's.
"""

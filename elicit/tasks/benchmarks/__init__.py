"""Benchmarks that come with the lab: one file each, called as the task is, with a `BENCHMARK` in it.

`elicit.tasks.datasets.benchmark` finds and loads them; a new file here is a new task.
"""

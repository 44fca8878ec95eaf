"""Bridges to the tools our users already have: lm-eval, Inspect, DataFrames, trackers. Nothing below imports them."""

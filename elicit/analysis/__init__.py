"""Curves over training: their shape, and the dual-timescale model of a dip. Torch-free."""

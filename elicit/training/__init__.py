"""Reinforcement learning on verifiable rewards, with TRL's trainer and the lab's own sampler.

Importing this package does not import torch; its modules do.
"""

from elicit.training.failures import TrainingFailed

__all__ = ["TrainingFailed"]

"""The configs of all methods, and what a method of one's own is written with.

    from elicit.methods import GRPO, SFT, Method, Traits
    elicit.compare("cued", "addition", arms={"base": {"method": "base"}, "sft": SFT(), "grpo": GRPO(steps=64)})

Every name is imported on first use. Configs import no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elicit.method import CostEstimate as CostEstimate
    from elicit.method import Generation as Generation
    from elicit.method import Method as Method
    from elicit.method import TokenLengths as TokenLengths
    from elicit.method import Traits as Traits
    from elicit.method import task_decoding as task_decoding
    from elicit.methods.ablations.ablate_feature import AblateFeature as AblateFeature
    from elicit.methods.ablations.clamp_feature import ClampFeature as ClampFeature
    from elicit.methods.ablations.feature_sweep import FeatureSweep as FeatureSweep
    from elicit.methods.ablations.mean_ablation import MeanAblation as MeanAblation
    from elicit.methods.ablations.twin_feature import TwinFeature as TwinFeature
    from elicit.methods.baselines.base import Base as Base
    from elicit.methods.baselines.best_prompt import BestPrompt as BestPrompt
    from elicit.methods.baselines.cue_prompt import CuePrompt as CuePrompt
    from elicit.methods.baselines.few_shot import FewShot as FewShot
    from elicit.methods.baselines.forbid_first import ForbidFirst as ForbidFirst
    from elicit.methods.baselines.named_prompt import NamedPrompt as NamedPrompt
    from elicit.methods.baselines.reference_model import ReferenceModel as ReferenceModel
    from elicit.methods.baselines.think_prompt import ThinkPrompt as ThinkPrompt
    from elicit.methods.controls.covariance_vector import CovarianceVector as CovarianceVector
    from elicit.methods.controls.error_vector import ErrorVector as ErrorVector
    from elicit.methods.controls.hybrid_control import HybridControl as HybridControl
    from elicit.methods.controls.random_feature import RandomFeature as RandomFeature
    from elicit.methods.controls.random_vector import RandomVector as RandomVector
    from elicit.methods.controls.same_solutions import SameSolutions as SameSolutions
    from elicit.methods.controls.same_vector import SameVector as SameVector
    from elicit.methods.controls.searched_random_feature import SearchedRandomFeature as SearchedRandomFeature
    from elicit.methods.controls.searched_random_vector import SearchedRandomVector as SearchedRandomVector
    from elicit.methods.controls.untrained_vector import UntrainedVector as UntrainedVector
    from elicit.methods.decoding.best_of_n import BestOfN as BestOfN
    from elicit.methods.decoding.budget_forcing import BudgetForcing as BudgetForcing
    from elicit.methods.decoding.contrastive_decoding import ContrastiveDecoding as ContrastiveDecoding
    from elicit.methods.decoding.cot_decoding import CotDecoding as CotDecoding
    from elicit.methods.decoding.dola import Dola as Dola
    from elicit.methods.decoding.min_p import MinP as MinP
    from elicit.methods.decoding.power_sampling import PowerSampling as PowerSampling
    from elicit.methods.decoding.self_consistency import SelfConsistency as SelfConsistency
    from elicit.methods.finetuning.adapter import PeftAdapter as PeftAdapter
    from elicit.methods.finetuning.critique import Critique as Critique
    from elicit.methods.finetuning.grpo import GRPO as GRPO
    from elicit.methods.finetuning.sft import SFT as SFT
    from elicit.methods.steering.edit import FunctionSteering as FunctionSteering
    from elicit.methods.steering.feature import FeatureSteering as FeatureSteering
    from elicit.methods.steering.hybrid_steering import HybridSteering as HybridSteering
    from elicit.methods.steering.mean_steering import MeanSteering as MeanSteering
    from elicit.methods.steering.rl_steering import RlSteering as RlSteering
    from elicit.methods.steering.sae_steering import SaeSteering as SaeSteering
    from elicit.methods.steering.vector import Vector as Vector

#: Name -> module.
_WHERE = {
    "AblateFeature": "elicit.methods.ablations.ablate_feature",
    "Base": "elicit.methods.baselines.base",
    "BestOfN": "elicit.methods.decoding.best_of_n",
    "BestPrompt": "elicit.methods.baselines.best_prompt",
    "BudgetForcing": "elicit.methods.decoding.budget_forcing",
    "ClampFeature": "elicit.methods.ablations.clamp_feature",
    "ContrastiveDecoding": "elicit.methods.decoding.contrastive_decoding",
    "CostEstimate": "elicit.method",
    "CotDecoding": "elicit.methods.decoding.cot_decoding",
    "CovarianceVector": "elicit.methods.controls.covariance_vector",
    "Critique": "elicit.methods.finetuning.critique",
    "CuePrompt": "elicit.methods.baselines.cue_prompt",
    "Dola": "elicit.methods.decoding.dola",
    "ErrorVector": "elicit.methods.controls.error_vector",
    "FeatureSteering": "elicit.methods.steering.feature",
    "FeatureSweep": "elicit.methods.ablations.feature_sweep",
    "FewShot": "elicit.methods.baselines.few_shot",
    "ForbidFirst": "elicit.methods.baselines.forbid_first",
    "FunctionSteering": "elicit.methods.steering.edit",
    "GRPO": "elicit.methods.finetuning.grpo",
    "Generation": "elicit.method",
    "HybridControl": "elicit.methods.controls.hybrid_control",
    "HybridSteering": "elicit.methods.steering.hybrid_steering",
    "MeanAblation": "elicit.methods.ablations.mean_ablation",
    "MeanSteering": "elicit.methods.steering.mean_steering",
    "Method": "elicit.method",
    "MinP": "elicit.methods.decoding.min_p",
    "NamedPrompt": "elicit.methods.baselines.named_prompt",
    "PeftAdapter": "elicit.methods.finetuning.adapter",
    "PowerSampling": "elicit.methods.decoding.power_sampling",
    "RandomFeature": "elicit.methods.controls.random_feature",
    "RandomVector": "elicit.methods.controls.random_vector",
    "ReferenceModel": "elicit.methods.baselines.reference_model",
    "RlSteering": "elicit.methods.steering.rl_steering",
    "SFT": "elicit.methods.finetuning.sft",
    "SaeSteering": "elicit.methods.steering.sae_steering",
    "SameSolutions": "elicit.methods.controls.same_solutions",
    "SameVector": "elicit.methods.controls.same_vector",
    "SearchedRandomFeature": "elicit.methods.controls.searched_random_feature",
    "SearchedRandomVector": "elicit.methods.controls.searched_random_vector",
    "SelfConsistency": "elicit.methods.decoding.self_consistency",
    "ThinkPrompt": "elicit.methods.baselines.think_prompt",
    "TokenLengths": "elicit.method",
    "Traits": "elicit.method",
    "TwinFeature": "elicit.methods.ablations.twin_feature",
    "UntrainedVector": "elicit.methods.controls.untrained_vector",
    "Vector": "elicit.methods.steering.vector",
    "task_decoding": "elicit.method",
}

__all__ = [*sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'elicit.methods' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

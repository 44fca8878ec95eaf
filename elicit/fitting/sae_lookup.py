"""Find the SAEs of a model, and load the features that a policy's record names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from elicit.errors import ElicitError

if TYPE_CHECKING:
    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task
    from saes import SAE, Feature, Match


def load_saes(base: BaseModel, names: Sequence[str]) -> list[SAE]:
    """Load the SAEs of a model, sorted by layer, without checking them against its weights.

    Args:
        names: SAEs by name; empty for those shipped for these weights.

    Raises:
        ElicitError: there is no SAE for the model, two for one layer, or one of another width or depth.
    """
    import saes

    sae_names = [name.replace("{model}", base.name) for name in names] or list_shipped_saes(base)
    loaded = sorted((saes.load(name, device=str(base.device)) for name in sae_names), key=lambda sae: sae.layer)
    for first, second in itertools.pairwise(loaded):
        if first.layer == second.layer:
            raise ElicitError(
                f"{first.name} and {second.name} both read layer {first.layer}. Name one SAE for each layer."
            )
    for sae in loaded:
        saes.fits(sae, base.hf, model_name=base.name)
    return loaded


def check_saes(
    base: BaseModel, loaded: Sequence[SAE], texts: Sequence[str], *, transfer: bool
) -> tuple[list[SAE], dict[str, Match]]:
    """Check SAEs against a model's weights. Returns them, and by name the kind of match.

    Args:
        loaded: result of `load_saes`.
        texts: texts on which the explained variance of an SAE of unknown origin is checked.

    Raises:
        ElicitError: an SAE belongs to other weights.
    """
    return list(loaded), {sae.name: check_sae_match(base, sae, texts, transfer=transfer) for sae in loaded}


def select_saes_at_layers(base: BaseModel, loaded: Sequence[SAE], layers: Sequence[int] | None) -> list[SAE]:
    """Select the SAEs of some layers; None takes all but the model's last layer.

    Raises:
        ElicitError: a layer does not have an SAE.
    """
    requested = list(range(max(1, base.n_layers - 1)) if layers is None else layers)
    chosen = [sae for sae in loaded if sae.layer in requested]
    missing = [layer for layer in requested if layer not in {sae.layer for sae in chosen}]
    if not chosen or (layers is not None and missing):
        raise ElicitError(
            f"no SAE for layer {missing[0]} of {base.name}; there are SAEs for layers {[sae.layer for sae in loaded]}. "
            f"Type: elicit sae train {base.name} --layer {missing[0]}, and name its folder in `saes`."
        )
    return chosen


def list_shipped_saes(base: BaseModel) -> list[str]:
    """List the names of the SAEs that ship with the lab for these weights: one per layer, first seed.

    Raises:
        ElicitError: there are none.
    """
    import saes

    names = [name for name in saes.names(weights_sha256=base.weights_sha256) if "-s" not in name.rpartition("/")[2]]
    if not names:
        raise ElicitError(
            f"no SAE comes with the lab for {base.name}. Type: elicit sae train {base.name} --layer "
            f"{max(0, base.n_layers - 2)}, and name its folder in `saes`."
        )
    return names


def check_sae_match(base: BaseModel, sae: SAE, texts: Sequence[str], *, transfer: bool = False) -> Match:
    """Refuse an SAE of other weights, width or depth; one of unknown weights is tested on `texts`."""
    import saes

    return saes.check(
        sae,
        base.hf,
        model_name=base.name,
        weights_sha256=base.weights_sha256,
        sequences=[base.encode(text) for text in texts],
        transfer=transfer,
    )


def encode_train_sequences(base: BaseModel, task: Task, n: int) -> list[tuple[int, ...]]:
    """Encode train problems as text: plain prompt and direct solution, cue prompt (if any) and worked solution."""
    sequences = []
    for problem in task.problems("train", n):
        sequences.append(base.encode(problem.prompt + (task.direct(problem) or "")))
        sequences.append(base.encode((problem.cue_prompt or problem.prompt) + (task.worked(problem) or "")))
    return sequences


def measure_firing_densities(base: BaseModel, sae: SAE, task: Task, n: int) -> torch.Tensor:
    """Share of tokens of train problems on which each feature fires: [d_sae]."""
    import torch

    import saes

    fired, tokens = torch.zeros(sae.d_sae), 0
    for harvest in saes.stream(base.hf, sae.layer, encode_train_sequences(base, task, n)):
        fired += (sae.encode(harvest.h) != 0).sum(dim=0).cpu()
        tokens += len(harvest.ids)
    return fired / tokens


def feature_record(feature: Feature) -> dict[str, Any]:
    """Plain data that identifies a feature permanently."""
    sae = feature.sae
    return {
        "sae": sae.name,
        "sae_sha256": sae.sha256,
        "feature": feature.index,
        "layer": sae.layer,
        "decoder_norm": feature.norm,
    }


def median_coefficient(feature: Feature, residuals: torch.Tensor) -> float:
    """Median over residuals [n, d_model] of the feature's coefficient, as a residual length; NaN if undefined."""
    return float(feature.coefficient(residuals).median()) if feature.sae.linear else float("nan")


def load_parent_features(method: str, parent: str, policy: Policy) -> list[Feature]:
    """Load the features that a fitted policy boosts.

    Raises:
        ElicitError: the parent does not have any, or an SAE has changed since.
    """
    entries: Sequence[Mapping[str, Any]] = policy.record.get("features") or ()
    if not entries:
        raise ElicitError(f"{method}: its parent {parent!r} boosts no SAE feature. Name an arm of sae_steering.")
    return _load_entry_features(method, parent, policy, entries)


class RecordedFeature(NamedTuple):
    """A feature and its entry in the record of an sae_steering arm."""

    feature: Feature
    entry: Mapping[str, Any]


def load_recorded_features(
    method: str,
    parent: str,
    policy: Policy,
    *,
    top: int,
    layers: Literal["own", "all"] = "own",
    kind: Literal["candidates", "opposed"] = "candidates",
) -> list[RecordedFeature]:
    """Load a parent's boosted features, or the best of those it scored.

    Args:
        top: 0 for the features that the parent boosts; else the number per SAE, or fewer if fewer are recorded.
        layers: the SAE of the parent's first feature, or every SAE it searched.
        kind: features more active in the positive condition, or those more active in the negative one.

    Raises:
        ElicitError: the parent does not have any, or an SAE has changed since.
    """
    boosted = load_parent_features(method, parent, policy)
    entries: Sequence[Mapping[str, Any]] = policy.record["features"]
    if top > 0:
        scored = policy.record.get(kind)
        if scored is None:
            raise ElicitError(f"{method}: its parent {parent!r} scored no features. Name an arm of sae_steering.")
        names = [boosted[0].sae.name] if layers == "own" else list(scored)
        entries = [entry for name in names for entry in scored[name][:top]]
    return [
        RecordedFeature(*pair)
        for pair in zip(_load_entry_features(method, parent, policy, entries), entries, strict=True)
    ]


def _load_entry_features(
    method: str, parent: str, policy: Policy, entries: Sequence[Mapping[str, Any]]
) -> list[Feature]:
    """Load the features that entries of a record name."""
    import saes

    loaded = {name: saes.load(name, device=str(policy.model.device)) for name in {entry["sae"] for entry in entries}}
    for entry in entries:
        if loaded[entry["sae"]].sha256 != entry["sae_sha256"]:
            raise ElicitError(f"{method}: SAE {entry['sae']!r} is not the one {parent!r} was fitted with any more.")
    return [loaded[entry["sae"]].feature(entry["feature"]) for entry in entries]


def load_tried_features(
    method: str, parent: str, policy: Policy, settings: Sequence[Mapping[str, Any]]
) -> list[list[Feature]]:
    """Load the features of every setting that a policy's search tried; each SAE is loaded once.

    Args:
        settings: entries of the record's search, with `sae` and `features`; without them a setting has none.

    Raises:
        ElicitError: the record does not identify an SAE, or it has changed since.
    """
    scored: Mapping[str, Sequence[Mapping[str, Any]]] = policy.record.get("candidates") or {}
    known = [*policy.record.get("features", ()), *(entry for entries in scored.values() for entry in entries)]
    hashes = {entry["sae"]: entry["sae_sha256"] for entry in known}
    tried = [(setting.get("sae"), index) for setting in settings for index in setting.get("features") or ()]
    for name, _ in tried:
        if name not in hashes:
            raise ElicitError(f"{method}: the record of {parent!r} does not say which SAE {name!r} is. Fit it again.")
    entries = [{"sae": name, "sae_sha256": hashes[name], "feature": index} for name, index in tried]
    loaded = iter(_load_entry_features(method, parent, policy, entries))
    return [list(itertools.islice(loaded, len(setting.get("features") or ()))) for setting in settings]


def choose_logit_difference_tokens(base: BaseModel, task: Task) -> tuple[int, int]:
    """Choose (first token of worked solutions, first token of direct ones), the most frequent on train problems.

    Raises:
        ElicitError: the task lacks one kind of solutions, or both begin with the same token.
    """
    from collections import Counter

    problems = task.problems("train", 32)
    firsts = []
    for write in (task.worked, task.direct):
        texts = [write(problem) for problem in problems]
        if any(not text for text in texts):
            raise ElicitError(f"task {task.name!r} lacks worked solutions: no first tokens to take a difference of.")
        continued = zip(texts, problems, strict=True)
        first = Counter(base.continuation(text or "", problem.prompt)[0] for text, problem in continued)
        firsts.append(first.most_common(1)[0][0])
    if firsts[0] == firsts[1]:
        raise ElicitError(
            f"worked and direct solutions of task {task.name!r} begin with the same token, without any logit "
            "difference to attribute. Use scorer: contrast."
        )
    return firsts[0], firsts[1]

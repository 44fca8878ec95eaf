"""Directions per category, and a gate that reads only the base's own residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from elicit.fitting.trace_categories import StepCategories, TraceTokens
    from elicit.steering import Gate

TokenSubset = Literal["disagreements", "steps"]


def compute_direction_similarity(directions: torch.Tensor) -> float | None:
    """Mean cosine between the directions of different steered categories; None for fewer than two.

    Near 1 the categories share one direction, so the choice of category cannot matter.
    """
    import torch

    steered = directions[directions.norm(dim=1) > 0]
    if len(steered) < 2:
        return None
    rows = torch.nn.functional.normalize(steered, dim=1)
    others = ~torch.eye(len(rows), dtype=torch.bool)
    return float((rows @ rows.T)[others].mean())


def compute_directions(
    tokens: TraceTokens, categories: StepCategories, layer: int, over: TokenSubset, *, least: int
) -> torch.Tensor:
    """Mean tuned minus mean base residual after `layer` for each category, on the same contexts: [category d_model].

    Args:
        over: the tokens of the category at which the models disagree, or all tokens of its steps.
        least: tokens that a mean needs. A category with fewer is not steered: its row is zero.
    """
    import torch

    row = tokens.find_layer_row(layer)
    difference = tokens.tuned[row] - tokens.base[row]
    by_token = categories.token if over == "disagreements" else categories.step[tokens.step]
    rows = []
    for category in range(categories.gate.classes):
        selected = by_token == category
        if over == "disagreements":
            selected = selected & tokens.disagree
        is_steered = int(selected.sum()) >= least
        rows.append(difference[selected].mean(0) if is_steered else torch.zeros(difference.shape[1]))
    return torch.stack(rows)


def draw_random_directions(directions: torch.Tensor, *identity: object) -> torch.Tensor:
    """Isotropic random directions for the categories that are steered; the others stay zero: [category d_model]."""
    import torch

    from elicit import seeds

    drawn = torch.from_numpy(seeds.make_generator(*identity).standard_normal(tuple(directions.shape))).float()
    return torch.where(directions.norm(dim=1, keepdim=True) > 0, drawn, 0.0)


def fit_gate(
    tokens: TraceTokens, categories: StepCategories, layer: int, steered: torch.Tensor, regularisation: float
) -> tuple[Gate, dict[str, Any]]:
    """Fit a multinomial logistic regression from the base's residual after `layer` to none (class 0) or a category.

    The class is none where the models agree, and in categories without a direction; elsewhere the category that the
    oracle would read. Uses scikit-learn's
    regression on standardised residuals, with the standardisation folded into the weights.

    Args:
        steered: [category] bool, the categories that have a direction.
        regularisation: scikit-learn's `C`; larger is weaker.

    Returns:
        The gate, and for the record the accuracy of a first fit on a held-out fifth of the traces.
    """
    import torch

    from elicit.steering import Gate

    h = tokens.base[tokens.find_layer_row(layer)]
    label = torch.where(tokens.disagree & steered[categories.token], categories.token + 1, 0)
    held_out = tokens.trace % 5 == 0
    fitted = _fit_softmax_regression(h[~held_out], label[~held_out], categories.gate.classes + 1, regularisation)
    decisions = Gate(*fitted).decide_class(h[held_out])
    fires, should_fire = decisions > 0, label[held_out] > 0
    record = {
        "tokens": int(held_out.sum()),
        "accuracy": float((decisions == label[held_out]).float().mean()),
        "share_wanted": float(should_fire.float().mean()),
        "share_fired": float(fires.float().mean()),
        "recall": float((decisions == label[held_out])[should_fire].float().mean())
        if bool(should_fire.any())
        else None,
        "precision": float((decisions == label[held_out])[fires].float().mean()) if bool(fires.any()) else None,
    }
    return Gate(*_fit_softmax_regression(h, label, categories.gate.classes + 1, regularisation)), record


def _fit_softmax_regression(
    h: torch.Tensor, label: torch.Tensor, classes: int, regularisation: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit a softmax regression: (weight [classes d_model], bias [classes]). Classes without examples never win."""
    import torch

    weight = torch.zeros(classes, h.shape[1], dtype=torch.float64)
    bias = torch.full((classes,), -1e9, dtype=torch.float64)
    present = sorted(set(label.tolist()))
    if len(present) == 1:
        bias[present[0]] = 0.0
        return weight, bias
    pipeline = fit_logistic_pipeline(h, label, regularisation)
    scaler, model = pipeline[0], pipeline[-1]
    coefficients, intercepts = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(present) == 2:  # scikit-learn has one row for two classes: the log-odds of the second
        coefficients = torch.cat([torch.zeros_like(coefficients), coefficients])
        intercepts = torch.cat([torch.zeros_like(intercepts), intercepts])
    scaled = coefficients / torch.from_numpy(scaler.scale_)
    weight[present] = scaled
    bias[present] = intercepts - scaled @ torch.from_numpy(scaler.mean_)
    return weight, bias


def fit_logistic_pipeline(h: torch.Tensor, label: torch.Tensor, regularisation: float) -> Any:
    """Fit scikit-learn's pipeline, on one thread: with one thread per core it took 50 times as long."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=regularisation, max_iter=2000))
    with threadpool_limits(1):
        return pipeline.fit(h.double().numpy(), label.numpy())

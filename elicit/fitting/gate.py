"""Directions per category, and a gate that the base can read by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from elicit.fitting.trace_categories import Categories, Tokens
    from elicit.steering import Gate

Over = Literal["disagreements", "steps"]


def alike(directions: torch.Tensor) -> float | None:
    """Mean cosine between the directions of different steered categories; None if there are fewer than two.

    Near 1, the categories share one direction, and which of them is used cannot matter.
    """
    import torch

    steered = directions[directions.norm(dim=1) > 0]
    if len(steered) < 2:
        return None
    rows = torch.nn.functional.normalize(steered, dim=1)
    others = ~torch.eye(len(rows), dtype=torch.bool)
    return float((rows @ rows.T)[others].mean())


def directions(tokens: Tokens, found: Categories, layer: int, over: Over) -> torch.Tensor:
    """Mean tuned minus mean base residual after `layer` of each category, on the same contexts: [category d_model].

    Args:
        over: the tokens of the category at which both models disagree, or all tokens of its steps. A category without
            any is not steered: its row is zero.
    """
    import torch

    row = tokens.layer(layer)
    difference = tokens.tuned[row] - tokens.base[row]
    by_token = found.token if over == "disagreements" else found.step[tokens.step]
    rows = []
    for category in range(found.gate.classes):
        mine = by_token == category
        if over == "disagreements":
            mine = mine & tokens.disagree
        rows.append(difference[mine].mean(0) if bool(mine.any()) else torch.zeros(difference.shape[1]))
    return torch.stack(rows)


def learned(tokens: Tokens, found: Categories, layer: int, regularisation: float) -> tuple[Gate, dict[str, Any]]:
    """A multinomial logistic regression from the base's residual after `layer` to none (class 0) or a category.

    None is where both models agree; elsewhere the class is the category that the oracle would read. Scikit-learn's
    regression on standardised residuals, with the standardisation folded into the weights.

    Args:
        regularisation: scikit-learn's `C`; larger is weaker.

    Returns:
        The gate, and for the record its accuracy on a fifth of the traces that was kept from a first fit.
    """
    import torch

    from elicit.steering import Gate

    h = tokens.base[tokens.layer(layer)]
    label = torch.where(tokens.disagree, found.token + 1, 0)
    kept = tokens.trace % 5 == 0
    fitted = _fit(h[~kept], label[~kept], found.gate.classes + 1, regularisation)
    judged = Gate(*fitted).decide(h[kept])
    fires, wanted = judged > 0, label[kept] > 0
    record = {
        "tokens": int(kept.sum()),
        "accuracy": float((judged == label[kept]).float().mean()),
        "share_wanted": float(wanted.float().mean()),
        "share_fired": float(fires.float().mean()),
        "recall": float((judged == label[kept])[wanted].float().mean()) if bool(wanted.any()) else None,
        "precision": float((judged == label[kept])[fires].float().mean()) if bool(fires.any()) else None,
    }
    return Gate(*_fit(h, label, found.gate.classes + 1, regularisation)), record


def _fit(
    h: torch.Tensor, label: torch.Tensor, classes: int, regularisation: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight [classes d_model], bias [classes]) of a softmax regression; classes that do not occur never win."""
    import torch

    weight = torch.zeros(classes, h.shape[1], dtype=torch.float64)
    bias = torch.full((classes,), -1e9, dtype=torch.float64)
    present = sorted(set(label.tolist()))
    if len(present) == 1:
        bias[present[0]] = 0.0
        return weight, bias
    pipeline = regression(h, label, regularisation)
    scaler, model = pipeline[0], pipeline[-1]
    coefficients, intercepts = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(present) == 2:  # scikit-learn keeps one row for two classes: the log-odds of the second
        coefficients = torch.cat([torch.zeros_like(coefficients), coefficients])
        intercepts = torch.cat([torch.zeros_like(intercepts), intercepts])
    scaled = coefficients / torch.from_numpy(scaler.scale_)
    weight[present] = scaled
    bias[present] = intercepts - scaled @ torch.from_numpy(scaler.mean_)
    return weight, bias


def regression(h: torch.Tensor, label: torch.Tensor, regularisation: float) -> Any:
    """Scikit-learn's fitted pipeline. On one thread: with as many as there are cores this took 50 times as long."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=regularisation, max_iter=2000))
    with threadpool_limits(1):
        return pipeline.fit(h.double().numpy(), label.numpy())

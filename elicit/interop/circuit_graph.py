"""Attribution graphs of circuit-tracer (and of Neuronpedia's graph page): read, as tables, and as a static picture.

    graph = read_circuit_graph("graph_files/dallas.json")
    graph                                    # in a notebook: tokens across, layers up, the strongest links
    graph.frame()                            # one row a link, strongest first

The file is the JSON that `circuit_tracer.utils.create_graph_files` writes: metadata, qParams, nodes, links. Links are
direct effects of a source on a target (transformer-circuits.pub/2025/attribution-graphs/methods.html).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elicit.errors import ElicitError
from elicit.text import escape_html

if TYPE_CHECKING:
    import pandas as pd

#: Links that are drawn, and the size of a cell of the picture in pixels.
_DRAWN, _COLUMN, _ROW, _LEFT = 200, 84, 34, 44
_COLOURS = {"embedding": "#7a7f87", "logit": "#0f7a5c", "mlp reconstruction error": "#c9ced4"}
_FEATURE_COLOUR = "#2b7bba"


class CircuitNode(NamedTuple):
    """A feature at a token, a token's embedding, the error of a layer's transcoder, or an output token."""

    node_id: str
    layer: str
    """The letter E for embeddings; the layer's number; one above the last layer for output tokens."""
    position: int
    kind: str
    """`feature_type` of the file, such as "cross layer transcoder", "embedding", "logit"."""
    label: str
    activation: float | None
    influence: float | None


class CircuitLink(NamedTuple):
    """A direct effect."""

    source: str
    target: str
    weight: float


@dataclass(frozen=True, repr=False)
class CircuitGraph:
    """An attribution graph as its file holds it."""

    name: str
    tokens: tuple[str, ...]
    nodes: tuple[CircuitNode, ...]
    links: tuple[CircuitLink, ...]
    """Strongest first, by the size of the weight."""

    def __repr__(self) -> str:
        first = "".join(f"\n  {link.source} -> {link.target}  {link.weight:+.4g}" for link in self.links[:10])
        return (
            f"CircuitGraph({self.name}: {len(self.nodes):,} nodes, {len(self.links):,} links, {len(self.tokens)} "
            f"tokens){first}"
        )

    def frame(self) -> pd.DataFrame:
        """One row a link, strongest first: source, target, weight, and each end's layer, position, kind and label."""
        import pandas as pd

        nodes = {node.node_id: node for node in self.nodes}
        rows: list[dict[str, Any]] = []
        for link in self.links:
            row: dict[str, Any] = {"source": link.source, "target": link.target, "weight": link.weight}
            for end, node in (("source", nodes[link.source]), ("target", nodes[link.target])):
                for field in ("layer", "position", "kind", "label"):
                    row[f"{end}_{field}"] = getattr(node, field)
            rows.append(row)
        ends = [f"{end}_{field}" for end in ("source", "target") for field in ("layer", "position", "kind", "label")]
        return pd.DataFrame(rows, columns=["source", "target", "weight", *ends])

    def _repr_html_(self) -> str:
        return f'<figure style="margin:0;overflow-x:auto">{self._render_svg()}</figure>'

    def save(self, path: str | Path) -> Path:
        """Write the picture as an SVG file, whole or not at all."""
        from elicit.runs import write_text

        write_text(Path(path), self._render_svg())
        return Path(path)

    def _render_svg(self) -> str:
        from elicit.report.charts import svg

        layers = sorted({node.layer for node in self.nodes}, key=_order_layer)
        height = _ROW * len(layers)
        at = self._place_nodes(layers)
        drawn = self.links[:_DRAWN]
        largest = max((abs(link.weight) for link in drawn), default=0.0) or 1.0
        body = [
            svg.draw_text(_LEFT - 8, height - _ROW * (i + 0.35), layer, anchor="end") for i, layer in enumerate(layers)
        ]
        for link in reversed(drawn):
            (x1, y1), (x2, y2), share = at[link.source], at[link.target], abs(link.weight) / largest
            colour = "#0f7a5c" if link.weight > 0 else "#b3460e"
            body.append(
                f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
                f'stroke-width="{0.4 + 2.6 * share:.2f}" opacity="{0.15 + 0.75 * share:.2f}" '
                f'data-weight="{link.weight!r}"/>'
            )
        for node in self.nodes:
            x, y = at[node.node_id]
            title = escape_html(f"{node.node_id} ({node.kind}) {node.label}")
            fill = _COLOURS.get(node.kind, _FEATURE_COLOUR)
            body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}"><title>{title}</title></circle>')
        for i, token in enumerate(self.tokens):
            x = _LEFT + _COLUMN * (i + 0.5)
            body.append(svg.draw_text(x, height + 14, token.replace("\n", "⏎")[:11], anchor="middle"))
        note = f"{self.name}: the {len(drawn):,} strongest of {len(self.links):,} links, {len(self.nodes):,} nodes"
        body.append(svg.draw_text(0, height + 36, note))
        return svg.render_svg(_LEFT + _COLUMN * max(1, len(self.tokens)), height + 44, body, label=note)

    def _place_nodes(self, layers: list[str]) -> dict[str, tuple[float, float]]:
        """The middle of each node's circle: nodes of one token and layer stand side by side."""
        cells: dict[tuple[int, str], list[str]] = {}
        for node in self.nodes:
            cells.setdefault((node.position, node.layer), []).append(node.node_id)
        at = {}
        for (position, layer), ids in cells.items():
            y = _ROW * (len(layers) - layers.index(layer) - 0.5)
            for i, node_id in enumerate(ids):
                at[node_id] = _LEFT + _COLUMN * (position + (i + 1) / (len(ids) + 1)), y
        return at


def read_circuit_graph(path: str | Path) -> CircuitGraph:
    """Read a graph file.

    Raises:
        ElicitError: not such a file, a node twice or at a token that the prompt does not have, or a link without ends.
    """
    from elicit.documents import read_foreign_object

    file = Path(path)
    document = read_foreign_object(file)
    try:
        metadata = document["metadata"]
        tokens = tuple(str(token) for token in metadata["prompt_tokens"])
        nodes = tuple(
            CircuitNode(
                str(node["node_id"]), str(node["layer"]), int(node["ctx_idx"]), str(node["feature_type"]),
                str(node.get("clerp") or ""), node.get("activation"), node.get("influence"),
            )
            for node in document["nodes"]
        )  # fmt: skip
        links = [CircuitLink(str(i["source"]), str(i["target"]), float(i["weight"])) for i in document["links"]]
        name = str(metadata.get("slug") or file.stem)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ElicitError(
            f"{file}: expected a graph of circuit-tracer (metadata.prompt_tokens, nodes, links); {error!r}."
        ) from None
    known = {node.node_id for node in nodes}
    if len(known) < len(nodes):
        raise ElicitError(f"{file}: a node_id stands twice.")
    for node in nodes:
        if not 0 <= node.position < len(tokens):
            raise ElicitError(f"{file}: node {node.node_id} is at token {node.position} of {len(tokens)}.")
    for link in links:
        for end in (link.source, link.target):
            if end not in known:
                raise ElicitError(f"{file}: a link names node {end!r}, which is not among the nodes.")
    return CircuitGraph(name, tokens, nodes, tuple(sorted(links, key=lambda link: -abs(link.weight))))


def _order_layer(layer: str) -> tuple[int, str]:
    """Embeddings below, then the numbers."""
    return (int(layer), "") if layer.isascii() and layer.isdigit() else (-1, layer)

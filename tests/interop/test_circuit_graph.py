"""Graph files of circuit-tracer, in the form its `create_graph_files` writes them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from elicit.errors import ElicitError
from elicit.interop.circuit_graph import read_circuit_graph
from tests.saes.hostile import Reader


def _node(node_id: str, layer: str, position: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"node_id": node_id, "feature": 7, "layer": layer, "ctx_idx": position, "feature_type": kind,
            "token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0, "jsNodeId": node_id,
            "clerp": "", "influence": None, "activation": None, **more}  # fmt: skip


def _graph() -> dict[str, Any]:
    return {
        "metadata": {"slug": "dallas", "scan": "gemma-2-2b", "transcoder_list": [], "schema_version": 1,
                     "prompt_tokens": ["<bos>", " </text><script>", "\n"], "prompt": "x", "node_threshold": 0.8},
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": [
            _node("E_5_1", "E", 1, "embedding", clerp="Emb: <b>"),
            _node("2_40_1", "2", 1, "cross layer transcoder", activation=3.5, influence=0.25),
            _node("10_41_2", "10", 2, "cross layer transcoder"),
            _node("0_2_2", "2", 2, "mlp reconstruction error"),
            _node("27_9_2", "27", 2, "logit", token_prob=0.5, is_target_logit=True, clerp='Output " Austin" (p=0.5)'),
        ],
        "links": [
            {"source": "E_5_1", "target": "2_40_1", "weight": 0.5},
            {"source": "2_40_1", "target": "10_41_2", "weight": -2.0},
            {"source": "10_41_2", "target": "27_9_2", "weight": 1.25},
        ],
    }  # fmt: skip


def test_a_graph_is_read_shown_and_saved(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text(json.dumps(_graph()))
    graph = read_circuit_graph(tmp_path / "g.json")
    table = graph.frame()
    assert table["weight"].tolist() == [-2.0, 1.25, 0.5], "by size"
    assert table.iloc[0][["source_layer", "target_layer", "target_position"]].tolist() == ["2", "10", 2]
    assert graph.nodes[1].activation == 3.5
    assert "2_40_1 -> 10_41_2  -2" in repr(graph)
    reader = Reader(graph._repr_html_())
    assert "script" not in reader.tags()
    heights = dict(re.findall(r'cy="([\d.]+)" r="4" fill="[^"]+"><title>(\S+)', graph._repr_html_()))
    order = [heights[y] for y in sorted(heights, key=float, reverse=True)]
    assert order[0] == "E_5_1"
    assert order[-2:] == ["10_41_2", "27_9_2"], "layers by number, from the embeddings up"
    weights = [float(w) for w in re.findall(r'data-weight="([^"]+)"', graph._repr_html_())]
    assert sorted(weights) == sorted(table["weight"])
    assert (graph.save(tmp_path / "g.svg")).read_text().startswith("<svg xmlns")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.pop("links"), "links"),
        (lambda g: g["links"].append({"source": "E_5_1", "target": "gone", "weight": 1.0}), "'gone'"),
        (lambda g: g["nodes"].append(g["nodes"][0]), "twice"),
        (lambda g: g["nodes"][0].update(ctx_idx=3), "token 3 of 3"),
        (lambda g: g["nodes"].append("text"), "expected a graph"),
    ],
)
def test_what_is_not_a_graph_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    document = _graph()
    change(document)
    (tmp_path / "g.json").write_text(json.dumps(document))
    with pytest.raises(ElicitError, match=message) as refused:
        read_circuit_graph(tmp_path / "g.json")
    assert "\n" not in str(refused.value)

"""The file of measured ratios has the form that readers of it expect, and its ratios follow from its numbers."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = BENCHMARKS / "results" / "speed.json"
sys.path.insert(0, str(BENCHMARKS))
spec = importlib.util.spec_from_file_location("speed_common", BENCHMARKS / "speed_common.py")
common = importlib.util.module_from_spec(spec)
spec.loader.exec_module(common)
sys.path.pop(0)

FIELDS = {
    "name": str,
    "ours": float,
    "peer": float,
    "unit": str,
    "ratio": float,
    "command": str,
    "machine": str,
}


def rows():
    return json.loads(RESULTS.read_text())


def test_the_file_has_all_families_and_fields():
    names = [one["name"] for one in rows()]
    assert len(set(names)) == len(names)
    for family in common.FAMILIES:
        assert any(name.startswith(family) for name in names), family
    assert all(name.startswith(common.FAMILIES) for name in names)
    for one in rows():
        for field, kind in FIELDS.items():
            assert isinstance(one[field], (kind, int) if kind is float else kind), (one["name"], field)
        low, high = one["spread"]
        assert 0 < low <= high and low - 0.01 <= one["ratio"] <= high + 0.01, one["name"]
        assert one["command"].startswith("python benchmarks/speed_") and "cores" in one["machine"]


def test_a_ratio_above_one_means_that_we_are_faster_or_smaller():
    for one in rows():
        larger_is_better = one["unit"].startswith(("molecules/s", "%"))
        better = one["ours"] / one["peer"] if larger_is_better else one["peer"] / one["ours"]
        low, high = one["spread"]
        assert 0.5 * low <= better <= 2 * high, one["name"]
        assert (one["ratio"] > 1) == (better > 1) or 0.8 < one["ratio"] < 1.25, one["name"]


def test_rows_by_hand(tmp_path):
    faster = common.row("embedding, x", [30.0, 20.0, 40.0], [10.0, 10.0, 10.0], "molecules/s", True)
    assert (faster["ours"], faster["peer"], faster["ratio"], faster["spread"]) == (30, 10, 3, [2, 4])
    smaller = common.row("memory, y", [5.0], [10.0], "MB", False)
    assert (smaller["ratio"], smaller["spread"]) == (2, [2, 2])
    path = tmp_path / "speed.json"
    common.keep([smaller], path)
    common.keep([faster], path)
    common.keep([smaller | {"ours": 4.0}], path)
    assert [(one["name"], one["ours"]) for one in json.loads(path.read_text())] == [
        ("embedding, x", 30.0),
        ("memory, y", 4.0),
    ]


def test_operations_by_hand():
    """One bond, one atom, one molecule, d_h 2, depth 3: two products for the bond, one for the atom, one in the head."""
    assert common.operations(1, 1, 1, d_h=2, depth=3) == 2 * 4 * (2 + 1 + 1)


def test_the_picture_is_small():
    path = RESULTS.with_name("scaling.png")
    if not path.exists():
        pytest.skip("the picture has not been drawn: make benchmark")
    assert path.stat().st_size < 150_000

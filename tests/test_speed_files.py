"""The file of measured ratios has the form that readers of it expect; its ratios, and the README's tables, follow from it."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = BENCHMARKS / "results" / "speed.json"


def script(name):
    """One of the benchmarks' scripts as a module."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


common = script("speed_common")
table = script("speed_table")

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
        assert "/" not in one["command"].removeprefix("python benchmarks/"), "a folder of somebody's machine"


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


def test_a_script_replaces_its_own_rows_only(tmp_path, monkeypatch):
    path = tmp_path / "speed.json"

    def kept(script, *rows):
        monkeypatch.setattr(sys, "argv", [f"here/{script}.py", "--data", "/secret", "--repeats", "3"])
        common.keep([common.row(name, [ours], [10.0], "MB", False) for name, ours in rows], path)
        return [(one["name"], one["ours"]) for one in json.loads(path.read_text())]

    kept("speed_a", ("memory, x", 5.0), ("embedding, x", 1.0))
    kept("speed_b", ("memory, y", 2.0))
    now = kept("speed_a", ("memory, z", 4.0))
    assert now == [("embedding, x", 1.0), ("memory, y", 2.0), ("memory, z", 4.0)]
    assert (
        json.loads(path.read_text())[0]["command"] == "python benchmarks/speed_a.py --data DATA --repeats 3"
    )


def test_targets_by_hand():
    def met(name, ours, ratio, unit):
        return table.wanted({"name": name, "ours": ours, "ratio": ratio, "unit": unit})

    assert met("featurisation, x", 9.0, 3.0, "molecules/s") == ["3", "6", "yes"]
    assert met("embedding x, wall", 9.0, 10.0, "molecules/s")[2] == "aim"
    assert met("training step, share of x, two threads", 49.0, 9.0, "%") == ["50 %", "70 %", "no"]
    assert met("memory, embedding 1,000,000 x", 999.0, 0.5, "MB") == ["2,000 MB", "1,000 MB", "aim"]
    assert met("memory, embedding 1,000,000 x", 2001.0, 3.0, "MB")[2] == "no"
    assert met("scaling, x", 1.0, 2.0, "s") == ["", "", ""]


def test_equal_accuracy_by_hand():
    tests = {
        "a": {"ours": [1.0, 3.0], "peer": [2.0, 2.2]},
        "b": {"ours": [3.0, 3.0], "peer": [2.0, 2.2]},
        "c": {"ours": [1.0, 1.0], "peer": [2.0, 2.2]},
    }
    lines = table.errors([{"name": "time to x, wall", "test RMSE": tests}]).splitlines()[2:]
    assert [line.split(" | ")[-1] for line in lines] == ["equal |", "ours higher |", "ours lower |"]


def test_the_readme_says_what_the_files_say():
    text = table.README.read_text()
    assert table.readme(text) == text, "run python benchmarks/speed_table.py"


def test_operations_by_hand():
    """One bond, one atom, one molecule, d_h 2, depth 3: two products for the bond, one for the atom, one in the head."""
    assert common.operations(1, 1, 1, d_h=2, depth=3) == 2 * 4 * (2 + 1 + 1)


def test_the_picture_is_small():
    path = RESULTS.with_name("scaling.png")
    if not path.exists():
        pytest.skip("the picture has not been drawn: make benchmark")
    assert path.stat().st_size < 150_000

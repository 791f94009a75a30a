"""The page of evidence and README say what the stored results say."""

import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def evidence():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import evidence
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return evidence


@pytest.fixture(scope="module")
def summary(evidence):
    return sys.modules["evidence_summary"]


def test_page_is_made_from_the_stored_results(summary):
    """Whoever adds results or changes words runs `python benchmarks/evidence.py --summary`."""
    assert (summary.RESULTS / "evidence.md").read_text(encoding="utf-8") == summary.page()


def test_readme_shows_the_same_numbers(summary):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [line for line in summary.in_short() if line not in readme]
    assert not missing


def test_errors_of_a_property_count_molecules_not_seeds(summary):
    """Seed 0 tests one molecule with error 3, seed 1 three with error 1: (3 + 3) / 4. Seed 2 lacks one of the models."""
    rows = [(0, "A", 3.0, 1), (1, "A", 1.0, 3), (2, "A", 9.0, 5), (0, "B", 2.0, 1), (1, "B", 2.0, 3)]
    frame = pd.DataFrame(rows, columns=["seed", "model", "error", "n_test"]).assign(task="y")
    assert summary.by_task(frame, ["B", "A"]).loc["y"].to_dict() == {"B": 2.0, "A": 1.5}


def test_every_stored_seed_is_one_that_its_command_runs(evidence):
    stored = [
        path.stem.split("_", 1)[1].rsplit("_", 1) for path in evidence.RESULTS.glob("evidence_*_[0-9]*.csv")
    ]
    assert stored
    assert not [(name, seed) for name, seed in stored if int(seed) not in evidence.DATA[name].seeds]


def test_compare_finds_what_did_not_come_out_again(evidence, tmp_path, capsys):
    """The same results; then one that differs, one that is missing, and a model that was not run."""
    name = "evidence_qm9_1.csv"
    stored = pd.read_csv(evidence.RESULTS / name)
    stored.to_csv(tmp_path / name, index=False)
    assert evidence.compare(tmp_path) == 0
    again = stored[stored["model"] != "Chemprop MT"].copy()
    n, gone = len(again), len(stored) - len(again)
    again.loc[2, "error"] += 0.25
    again.drop(index=3).to_csv(tmp_path / name, index=False)
    capsys.readouterr()
    assert evidence.compare(tmp_path) == 1
    said = capsys.readouterr().out
    assert gone > 0
    assert (
        f"{n - 2} of {n} rows are the same, largest difference 0.25000; {gone} stored rows were not run, 0 are not"
        in said
    )
    assert all(str(stored.loc[row, "task"]) in said for row in (2, 3))
    mean = stored[stored["model"] == stored.loc[2, "model"]].drop(index=3)["error"].mean()
    assert f"{mean:.5f}" in said and f"{mean + 0.25 / 11:.5f}" in said
    assert "1 differ by no more than" in said and "0 by more" in said


def test_mean_errors_have_an_interval_over_properties(evidence):
    """Differences of 0.1 and 0.3, means over two seeds: 0.2 with a t interval of 12.706 times 0.1."""
    rows = [
        ("A", "y", 0.0),
        ("A", "y", 0.2),
        ("A", "z", 0.2),
        ("A", "z", 0.4),
        ("B", "y", 0.0),
        ("B", "z", 0.0),
    ]
    frame = pd.DataFrame(rows, columns=["model", "task", "gap"]).assign(
        data="d", seed=[0, 1, 0, 1, 0, 0], stored=1.0
    )
    both = frame.assign(again=1 + frame.pop("gap")).set_index(["data", "seed", "model", "task"])
    means = evidence.mean_errors(both).loc["d"]
    assert means.loc["A"].tolist() == pytest.approx([1.0, 1.2, 0.2, 1.27062, 2])
    assert means.loc["B"].tolist() == [1.0, 1.0, 0.0, 0.0, 1]
    assert "Of 2 mean errors 1 are the same" in evidence.verdict(means)


def test_compare_finds_a_training_that_stopped_earlier(evidence, tmp_path, capsys):
    name = "curves_qm9_1.csv"
    stored = pd.read_csv(evidence.RESULTS / name)
    stored.iloc[:-1].to_csv(tmp_path / name, index=False)
    assert evidence.compare(tmp_path) == 1
    other = "evidence_qm9_987.csv"
    (tmp_path / name).rename(tmp_path / other)
    capsys.readouterr()
    assert evidence.compare(tmp_path) == 0
    assert f"{other}: nothing is stored" in capsys.readouterr().out


def test_compare_wants_results(evidence, tmp_path):
    with pytest.raises(SystemExit, match="holds no results"):
        evidence.compare(tmp_path)

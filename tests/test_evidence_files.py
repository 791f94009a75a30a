"""The page of evidence and README say what the stored results say."""

import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def summary():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import evidence_summary
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return evidence_summary


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

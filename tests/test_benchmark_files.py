"""The benchmarks' shared helper: scores by hand, the split's fingerprint, refusals."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "split_files.py"
spec = importlib.util.spec_from_file_location("split_files", PATH)
split_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(split_files)


def frame(**columns):
    return pd.DataFrame({"smiles": ["C", "CC", "CCC"], "split": ["train", "valid", "test"], **columns})


def test_scores_by_hand():
    """Errors 0, 0, 3, 3 around a mean of 2.5 with squared spread 5; the second task has one gap."""
    Y = np.array([[1.0, 2.0], [2.0, np.nan], [3.0, 4.0], [4.0, 6.0]])
    Y_hat = np.array([[1.0, 2.0], [2.0, 99.0], [6.0, 4.0], [1.0, 6.0]])
    result = split_files.scores(Y, Y_hat, ["a", "b"])
    assert result["a"] == {
        "n": 4,
        "rmse": pytest.approx(4.5**0.5),
        "mae": pytest.approx(1.5),
        "r2": pytest.approx(1 - 18 / 5),
    }
    assert result["b"] == {"n": 3, "rmse": 0.0, "mae": 0.0, "r2": 1.0}


def test_scores_refuse_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match="shapes differ"):
        split_files.scores(np.zeros((3, 2)), np.zeros((3, 1)), ["a", "b"])


def test_hash_sees_rows_order_and_split_but_not_labels():
    base = frame(y=[1.0, 2.0, 3.0])
    same = split_files.split_hash(frame(y=[9.0, 9.0, 9.0]))
    assert split_files.split_hash(base) == same
    assert split_files.split_hash(base.iloc[::-1]) != same
    assert split_files.split_hash(base.assign(split=["valid", "train", "test"])) != same


def test_read_split_file(tmp_path):
    path = tmp_path / "x_seed0.csv"
    frame(y=[1.0, None, 3.0], z=[None, 5.0, 6.0]).to_csv(path, index=False)
    table, tasks = split_files.read_split_file(path)
    assert tasks == ["y", "z"]
    np.testing.assert_array_equal(table[tasks].to_numpy(), [[1, np.nan], [np.nan, 5], [3, 6]])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (frame(y=[1.0, 2.0, 3.0]).drop(columns="split"), "no column"),
        (frame(y=[1.0, 2.0, 3.0]).assign(split=["train", "val", "test"]), "'val'"),
        (frame(y=["1", "two", "3"]), "'y' is not numeric"),
    ],
)
def test_broken_split_files_are_refused(tmp_path, broken, message):
    path = tmp_path / "broken.csv"
    broken.to_csv(path, index=False)
    with pytest.raises(SystemExit, match=message):
        split_files.read_split_file(path)

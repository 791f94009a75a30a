"""What the benchmark scripts share: CSV files with a `split` column, and scores.

Needs only NumPy and pandas, so that it runs in Chemprop's environment too.

A split file has a `smiles` column, a `split` column (train, valid or test) and one column a task; an empty cell
is a label that was not measured.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

SPLITS = ("train", "valid", "test")


def read_split_file(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read a split file; returns the table and the names of its task columns."""
    frame = pd.read_csv(path)
    missing = {"smiles", "split"} - set(frame.columns)
    if missing:
        raise SystemExit(f"{path} has no column {sorted(missing)}")
    unknown = set(frame["split"]) - set(SPLITS)
    if unknown:
        raise SystemExit(f"{path}: the split column holds {sorted(map(str, unknown))}; wanted {SPLITS}")
    tasks = [column for column in frame.columns if column not in ("smiles", "split")]
    for task in tasks:
        if not pd.api.types.is_numeric_dtype(frame[task]):
            raise SystemExit(f"{path}: column {task!r} is not numeric")
    return frame, tasks


def split_hash(frame: pd.DataFrame) -> str:
    """Fingerprint of molecules and split: equal hashes mean equal rows, order and split."""
    lines = "\n".join(frame["smiles"] + "\t" + frame["split"])
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def scores(
    Y: np.ndarray,  # targets, shape (n, t), original units; NaN = not measured
    Y_hat: np.ndarray,  # predictions, shape (n, t)
    tasks: list[str],  # names of the t columns
) -> dict[str, dict[str, float]]:  # per task: n, rmse, mae, r2
    """RMSE, MAE and R2 of each task over its measured rows."""
    if Y.shape != Y_hat.shape:
        raise ValueError(f"shapes differ: {Y.shape} and {Y_hat.shape}")
    result = {}
    for column, task in enumerate(tasks):
        measured = np.isfinite(Y[:, column])
        y = Y[measured, column]
        error = Y_hat[measured, column] - y
        spread = np.square(y - y.mean()).sum()
        result[task] = {
            "n": int(measured.sum()),
            "rmse": float(np.sqrt(np.mean(np.square(error)))),
            "mae": float(np.mean(np.abs(error))),
            "r2": float(1 - np.square(error).sum() / spread) if spread > 0 else float("nan"),
        }
    return result

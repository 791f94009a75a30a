"""Write skmatter_reference.npz: which columns and rows scikit-matter's CUR chooses, and what they leave.

Run it in an environment that has scikit-matter (the package itself never needs it):

    python -m venv sk && sk/bin/pip install skmatter==0.4.1
    sk/bin/python tests/oracles/make_skmatter_reference.py

The matrices are not stored: `matrix(name)` makes them from integers alone, so every machine has the same ones.
Layout of the file: README.md in this folder.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

CASES = {
    "tall": {"shape": (80, 24), "twins": (), "k": 3, "columns": 12, "rows": 10},
    "wide": {"shape": (30, 60), "twins": (), "k": 5, "columns": 15, "rows": 15},
    "twins": {"shape": (60, 20), "twins": ((7, 0), (13, 4), (19, 4)), "k": 2, "columns": 14, "rows": 12},
    "one": {"shape": (50, 18), "twins": ((9, 1),), "k": 1, "columns": 14, "rows": 14},
}


def matrix(name: str) -> np.ndarray:
    """The matrix (n, d) of a case: pseudo-random integers by a fixed recurrence, columns of falling size."""
    n, d = CASES[name]["shape"]
    state = 12345 + len(name) * 1000 + n
    numbers = []
    for _ in range(n * d):
        state = (1103515245 * state + 12345) % 2**31
        numbers.append(state // 2**16 % 2001 - 1000)
    X = np.array(numbers, dtype=float).reshape(n, d) / 1000 / np.sqrt(np.arange(1, d + 1))
    for copy, original in CASES[name]["twins"]:
        X[:, copy] = X[:, original]
    return X - X.mean(axis=0)


def relative_error(X: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> float:
    """||X - C C^+ X R^+ R|| / ||X||, formed in full."""
    C = X[:, columns]
    R = X[rows]
    return float(np.linalg.norm(X - C @ np.linalg.pinv(C) @ X @ np.linalg.pinv(R) @ R) / np.linalg.norm(X))


def main() -> None:
    from skmatter.feature_selection import CUR as FeatureCUR
    from skmatter.sample_selection import CUR as SampleCUR

    out = {}
    for name, case in CASES.items():
        X = matrix(name)
        columns = FeatureCUR(n_to_select=case["columns"], k=case["k"]).fit(X).selected_idx_
        rows = SampleCUR(n_to_select=case["rows"], k=case["k"]).fit(X).selected_idx_
        out[f"{name}.columns"] = np.array(columns, dtype=np.int16)
        out[f"{name}.rows"] = np.array(rows, dtype=np.int16)
        out[f"{name}.error"] = np.float64(relative_error(X, columns, rows))
        print(name, list(columns), list(rows), out[f"{name}.error"])
    versions = {package: version(package) for package in ("skmatter", "numpy", "scikit-learn", "scipy")}
    out["meta"] = np.array(json.dumps({"format": 1, "versions": versions, "cases": CASES}))
    np.savez_compressed(Path(__file__).with_name("skmatter_reference.npz"), **out)


if __name__ == "__main__":
    main()

"""Time and memory of leverage scores, CUR and block leverage on matrices as large as real fused embeddings.

    OMP_NUM_THREADS=2 python benchmarks/speed_cur.py

Each row runs in a process of its own, so that the peak memory is its own: the input, the result and whatever
lies between, less what Python and the packages take before the input is made. On a machine that others use, the
CPU seconds (of all threads together) are the fairer number. The matrices are made: 12 blocks of 300 columns that mix
the same 200 hidden quantities of falling size, plus noise. As in blocks of trained encoders, 99 % of the variance
lie in about twenty directions, and the rest falls slowly.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np

N_BLOCKS = 12
WIDTH = 300
CASES = {
    "leverage scores, 10,000 x 3,600": ("leverage", 10_000),
    "CUR by leverage, 10,000 x 3,600": ("cur", 10_000),
    "leverage scores + CUR, 10,000 x 3,600": ("both", 10_000),
    "block leverage, 10,000 x 12 x 300": ("blocks", 10_000),
    "block leverage without intervals, 10,000 x 12 x 300": ("blocks without", 10_000),
    "greedy, 100 columns, 10,000 x 3,600": ("greedy", 10_000),
    "leverage scores, 50,000 x 3,600": ("leverage", 50_000),
    "leverage scores + CUR, 50,000 x 3,600": ("both", 50_000),
}


def make_blocks(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Blocks (n, 300) float32 that mix 200 hidden quantities, the i-th of size 1 / i^1.2, each block in its own way."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 200)).astype(np.float32) / np.arange(1, 201, dtype=np.float32) ** 1.2
    blocks = {}
    for b in range(N_BLOCKS):
        mixing = rng.normal(size=(200, WIDTH)).astype(np.float32)
        noise = 0.02 * rng.standard_normal(size=(n, WIDTH), dtype=np.float32)
        blocks[f"block {b + 1}"] = hidden @ mixing + noise
    return blocks


def make_matrix(n: int) -> np.ndarray:
    """The same, centred, side by side, in one float64 array (n, 3600)."""
    X = np.empty((n, N_BLOCKS * WIDTH))
    for b, Z in enumerate(make_blocks(n).values()):
        X[:, b * WIDTH : (b + 1) * WIDTH] = Z - Z.mean(axis=0)
    return X


def peak_mb() -> float:
    """Largest memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(kind: str, n: int) -> dict:
    """Run one case in this process: seconds, peak memory in MB with and without the input, and what came out."""
    from fusionbook.cur import block_leverage, choose_rank, cur, leverage_scores, select_columns

    before = peak_mb()
    data = make_blocks(n) if kind.startswith("blocks") else make_matrix(n)
    k = None if kind.startswith("blocks") else choose_rank(data, 0.99)
    start = time.perf_counter()
    cpu = time.process_time()
    if kind == "leverage":
        note = f"k = {k}, sum = {leverage_scores(data, k).sum():.6f}"
    elif kind == "cur":
        note = repr(cur(data, k))
    elif kind == "both":
        note = f"sum = {leverage_scores(data, k).sum():.6f}, {cur(data, k)!r}"
    elif kind == "greedy":
        note = f"k = {k}, {len(select_columns(data, k, 100, 'greedy'))} columns"
    else:
        found = block_leverage(data, n_boot=0 if kind.endswith("without") else 200)
        note = f"k = {found.k}, masses {found.mass.min():.2f} to {found.mass.max():.2f}"
    seconds = time.perf_counter() - start
    cpu_seconds = time.process_time() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb() - before, "note": note}


def run(names: list[str] | None = None) -> list[dict]:
    """Measure the cases, each in a fresh process, and print a row for each: name, seconds, CPU seconds, peak MB."""
    rows = []
    print(f"{'case':52s} {'seconds':>8s} {'CPU s':>8s} {'peak MB':>8s}")
    for name in names or CASES:
        kind, n = CASES[name]
        out = subprocess.run(
            [sys.executable, __file__, kind, str(n)], capture_output=True, text=True, check=True
        )
        rows.append({"name": name} | json.loads(out.stdout.splitlines()[-1]))
        last = rows[-1]
        numbers = f"{last['seconds']:8.1f} {last['cpu_seconds']:8.1f} {last['peak_mb']:8.0f}"
        print(f"{name:52s} {numbers}   {last['note']}", flush=True)
    return rows


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        run()

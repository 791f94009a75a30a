"""Time and peak memory of `connections`: 10,000 molecules, 12 blocks of 300 columns, with null, interval, ceiling, floor.

Each row is measured in a process of its own; the peak includes Python, NumPy, pandas, RDKit and the blocks themselves.
"decaying" blocks lose variance from column to column as learned ones do; "flat" ones are white noise, the worst case.
"CPU s" counts all threads; where it is far below the seconds, something else kept the machine busy.

    OMP_NUM_THREADS=2 python benchmarks/speed_connections.py
    OMP_NUM_THREADS=2 python benchmarks/speed_connections.py --measures cka knn --molecules 2000
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from fusionbook.connections import MEASURES, connection_network, connections, transfer_matrix
from fusionbook.molecules import Split

BLOCKS = 12
COLUMNS = 300
UNTRAINED = 3


def make_blocks(names: list[str], n: int, kind: str, seed: int) -> dict[str, np.ndarray]:
    """Blocks (n, 300) in float32 that see the same 200 hidden numbers, each through its own mixture."""
    rng = np.random.default_rng(seed)
    hidden = np.random.default_rng(0).normal(size=(n, 200)).astype(np.float32)
    blocks = {}
    for name in names:
        Z = rng.normal(size=(n, COLUMNS)).astype(np.float32)
        if kind == "decaying":
            loud = rng.permutation(200) + 1.0
            mixture = (rng.normal(size=(200, COLUMNS)) / loud[:, None]).astype(np.float32)
            Z = hidden @ mixture + 0.02 * Z
        blocks[name] = Z
    return blocks


def measure_one(what: str, kind: str, n: int) -> tuple[float, float]:
    """Run one job; returns its seconds and the seconds of all its threads; making the blocks is not counted."""
    names = [f"property {i + 1}" for i in range(BLOCKS)]
    blocks = make_blocks(names, n, kind, 1)
    if what == "transfer":
        Y = np.random.default_rng(2).normal(size=(n, BLOCKS)) + blocks[names[0]][:, :BLOCKS]
        parts = np.split(np.random.default_rng(0).permutation(n), [int(0.8 * n), int(0.9 * n)])
        start = time.perf_counter(), time.process_time()
        transfer_matrix(blocks, Y, Split(*parts), names=names)
        return time.perf_counter() - start[0], time.process_time() - start[1]
    again = make_blocks(names, n, kind, 3)
    untrained = make_blocks([f"untrained {i + 1}" for i in range(UNTRAINED)], n, kind, 4)
    start = time.perf_counter(), time.process_time()
    found = connections(blocks, measure=what, ceiling=again, floor=untrained)
    connection_network(found)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def main() -> None:
    """Measure each row in a fresh process and print name, seconds and peak MB."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measures", nargs="+", default=[*MEASURES, "transfer"])
    parser.add_argument("--molecules", type=int, default=10_000)
    parser.add_argument("--one", nargs=2, metavar=("MEASURE", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        seconds, busy = measure_one(*options.one, options.molecules)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{seconds:.1f} {busy:.1f} {peak:.0f}")
        return
    jobs = [(name, "decaying") for name in options.measures]
    jobs += [("cka", "flat")] if "cka" in options.measures else []
    print(f"{'name':<32}{'seconds':>10}{'CPU s':>10}{'peak MB':>10}")
    for name, kind in jobs:
        command = [sys.executable, __file__, "--molecules", str(options.molecules), "--one", name, kind]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        print(f"{f'{name} ({kind})':<32}{out[-3]:>10}{out[-2]:>10}{out[-1]:>10}", flush=True)


if __name__ == "__main__":
    main()

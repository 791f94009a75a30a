"""How fast SMILES become graphs, here and in Chemprop; and how much memory a streamed library takes.

Both programs get the same molecules in the same run, turn by turn, and parse the SMILES themselves. Chemprop runs in its
own environment, because it pins its rdkit. A ratio above 1 means that fusionbook is faster or smaller.

    python benchmarks/speed_featurisation.py --chemprop-python CHEMPROP_ENV/bin/python
    python benchmarks/speed_featurisation.py --data molecules.csv --molecules 5000 --out featurisation.json
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np

from fusionbook.datasets import load_xtb
from fusionbook.graphs import read_graphs
from fusionbook.molecules import load_frame

CHEMPROP = """
import json, sys, time
from rdkit import Chem
from chemprop.featurizers import SimpleMoleculeMolGraphFeaturizer
featurise = SimpleMoleculeMolGraphFeaturizer()
smiles = json.load(open(sys.argv[1]))
parts = {"all": smiles, "0": smiles[: len(smiles) // 2], "1": smiles[len(smiles) // 2 :]}
print("ready", flush=True)
for line in sys.stdin:
    part = parts[line.strip()]
    start = time.perf_counter()
    graphs = [featurise(Chem.MolFromSmiles(text)) for text in part]
    seconds = time.perf_counter() - start
    size = sum(x.nbytes for g in graphs for x in (g.V, g.E, g.edge_index, g.rev_edge_index))
    print(json.dumps([seconds, size]), flush=True)
"""

STREAM = """
import sys
import numpy as np
from fusionbook.embeddings import EmbeddingBlocks, stream_molecules
def embed(texts):
    rng = np.random.default_rng(len(texts[0]))
    return EmbeddingBlocks({"a": rng.random((len(texts), 300), dtype=np.float32)}, texts)
stream_molecules(sys.argv[1], sys.argv[2], embed)
lines = open("/proc/self/status").read().splitlines()
print(1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))))
"""


class Peer:
    """A Chemprop process that waits for its turn."""

    def __init__(self, python: str, file: Path):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([python, "-c", CHEMPROP, str(file)], **pipes)
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{python} cannot run Chemprop's featuriser.")

    def start(self, part: str) -> None:
        self.process.stdin.write(f"{part}\n")
        self.process.stdin.flush()

    def result(self) -> tuple[float, int]:
        seconds, size = json.loads(self.process.stdout.readline())
        return seconds, size

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def our_seconds(smiles: list[str], n_jobs: int) -> float:
    start = time.perf_counter()
    read_graphs(smiles, n_jobs=n_jobs)
    return time.perf_counter() - start


def measure(smiles: list[str], python: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of each way in each repeat; the ways take turns."""
    seconds = {name: [] for name in ("ours 1", "ours 2", "peer 1", "peer 2")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "smiles.json"
        file.write_text(json.dumps(smiles))
        peers = [Peer(python, file) for _ in range(2)]
        our_seconds(smiles[:100], 2)  # starts the processes
        for _ in range(repeats):
            peers[0].start("all")
            one, size = peers[0].result()
            seconds["peer 1"].append(one)
            seconds["ours 1"].append(our_seconds(smiles, 1))
            for number, peer in enumerate(peers):
                peer.start(str(number))
            seconds["peer 2"].append(max(peer.result()[0] for peer in peers))
            seconds["ours 2"].append(our_seconds(smiles, 2))
        for peer in peers:
            peer.close()
    return seconds | {"peer bytes": [size / len(smiles)]}


def row(name: str, ours: list[float], peer: list[float], unit: str, larger_is_better: bool) -> dict:
    """Medians, their ratio, and the smallest and largest ratio of a repeat."""
    ratios = [(a / b) if larger_is_better else (b / a) for a, b in zip(ours, peer)]
    middle = [statistics.median(values) for values in (ours, peer)]
    return {
        "name": name,
        "ours": round(middle[0], 1),
        "peer": round(middle[1], 1),
        "unit": unit,
        "ratio": round(statistics.median(ratios), 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "command": f"python {' '.join(sys.argv)}",
        "machine": f"{_processor()}, {os.cpu_count()} cores",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def graph_rows(smiles: list[str], python: str, repeats: int) -> list[dict]:
    seconds = measure(smiles, python, repeats)
    rates = {name: [len(smiles) / value for value in values] for name, values in seconds.items()}
    ours = read_graphs(smiles)[0].nbytes / len(smiles)
    unit = "molecules/s"
    return [
        row("featurisation, one process each", rates["ours 1"], rates["peer 1"], unit, True),
        row("featurisation, two processes each", rates["ours 2"], rates["peer 2"], unit, True),
        row("featurisation, two processes against one", rates["ours 2"], rates["peer 1"], unit, True),
        row("memory, graphs", [ours], seconds["peer bytes"], "bytes/molecule", False),
    ]


def stream_row(sizes: tuple[int, int]) -> dict:
    """Peak memory of streaming a short and a long library; the "peer" is the short one."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            source = Path(folder) / f"{n}.csv"
            source.write_text("smiles\n" + "CC(=O)Nc1ccc(O)cc1\n" * n)
            command = [sys.executable, "-c", STREAM, str(source), str(Path(folder) / f"{n}.parquet")]
            peaks.append(
                int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e6
            )
    name = f"memory, streaming {sizes[1]:,} rows against {sizes[0]:,} rows (300 numbers each)"
    return row(name, [peaks[1]], [peaks[0]], "MB", False)


def read_smiles(path: str | None, n: int) -> list[str]:
    """Draw molecules from a file, or from the bundled table."""
    smiles = list(load_xtb().smiles) if path is None else load_frame(path, "smiles")["smiles"].tolist()
    rows = np.random.default_rng(0).permutation(len(smiles))[:n]
    smiles = [smiles[i].strip() for i in rows]
    kept = read_graphs(smiles)[1]
    return [smiles[i] for i in kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chemprop-python", help="python of an environment with Chemprop")
    parser.add_argument("--data", help="CSV or Parquet file with a column smiles; default: the bundled table")
    parser.add_argument("--molecules", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stream-rows", type=int, nargs=2, default=(50_000, 200_000))
    parser.add_argument("--out", help="JSON file for the rows")
    options = parser.parse_args()
    rows = []
    if options.chemprop_python and Path(options.chemprop_python).exists():
        rows += graph_rows(
            read_smiles(options.data, options.molecules), options.chemprop_python, options.repeats
        )
    else:
        print("No Chemprop environment (--chemprop-python): the comparison with Chemprop is skipped.")
    rows.append(stream_row(tuple(options.stream_rows)))
    for one in rows:
        low, high = one["spread"]
        print(
            f"{one['name']:70s} {one['ours']:>10,.1f} {one['peer']:>10,.1f} {one['unit']:15s} "
            f"x {one['ratio']:.2f} ({low:.2f}-{high:.2f})"
        )
    if options.out:
        Path(options.out).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    finally:
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)

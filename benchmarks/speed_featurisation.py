"""How fast SMILES become graphs, here and in Chemprop; and how much memory the graphs take.

Both programs get the same drug-like molecules in the same run, turn by turn, and parse the SMILES themselves. Chemprop runs
in its own environment, because it pins its rdkit. With one process each, seconds are the processor's, which other programs
on the machine disturb less; with two they are the clock's.

    python benchmarks/speed_featurisation.py --data DATA --chemprop-python CHEMPROP_ENV/bin/python
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from joblib.externals.loky import get_reusable_executor
from speed_common import Peer, has_chemprop, keep, parser, row, zinc

from fusionbook.graphs import read_graphs

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
    wall, used = time.perf_counter(), time.process_time()
    graphs = [featurise(Chem.MolFromSmiles(text)) for text in part]
    wall, used = time.perf_counter() - wall, time.process_time() - used
    size = sum(x.nbytes for g in graphs for x in (g.V, g.E, g.edge_index, g.rev_edge_index))
    print(json.dumps([wall, used, size]), flush=True)
"""


def our_seconds(smiles: list[str], n_jobs: int) -> float:
    """Seconds of the processor for one process, of the clock for more."""
    seconds = time.process_time if n_jobs == 1 else time.perf_counter
    start = seconds()
    read_graphs(smiles, n_jobs=n_jobs)
    return seconds() - start


def measure(smiles: list[str], python: str, repeats: int) -> dict[str, list[float]]:
    """Molecules a second of each way in each repeat; the ways take turns."""
    rates = {name: [] for name in ("ours 1", "peer 1", "ours 2", "peer 2", "peer bytes")}
    n = len(smiles)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "smiles.json"
        file.write_text(json.dumps(smiles))
        peers = [Peer([python, "-c", CHEMPROP, str(file)]) for _ in range(2)]
        our_seconds(smiles[:100], 2)  # starts the processes
        for _ in range(repeats):
            _, used, size = peers[0].ask("all")
            rates["peer 1"].append(n / used)
            rates["peer bytes"].append(size / n)
            rates["ours 1"].append(n / our_seconds(smiles, 1))
            for number, peer in enumerate(peers):
                peer.send(str(number))
            rates["peer 2"].append(n / max(peer.answer()[0] for peer in peers))
            rates["ours 2"].append(n / our_seconds(smiles, 2))
        for peer in peers:
            peer.close()
    return rates


def graph_rows(smiles: list[str], python: str, repeats: int) -> list[dict]:
    rates = measure(smiles, python, repeats)
    size = [read_graphs(smiles)[0].nbytes / len(smiles)] * repeats
    cpu, wall = "molecules/s (processor time)", "molecules/s (wall)"
    return [
        row(
            f"featurisation, {len(smiles):,} ZINC SMILES to graphs, one process each",
            rates["ours 1"],
            rates["peer 1"],
            cpu,
            True,
        ),
        row(
            f"featurisation, {len(smiles):,} ZINC SMILES to graphs, two processes each",
            rates["ours 2"],
            rates["peer 2"],
            wall,
            True,
        ),
        row("memory, graphs of ZINC molecules", size, rates["peer bytes"], "bytes/molecule", False),
    ]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--molecules", type=int, default=9000)
    options = options.parse_args()
    if has_chemprop(options):
        keep(
            graph_rows(zinc(options.data, options.molecules), options.chemprop_python, options.repeats),
            options.out,
        )


if __name__ == "__main__":
    try:
        main()
    finally:
        if "joblib" in sys.modules:
            get_reusable_executor().shutdown(wait=True)

"""Training steps of one network, against Chemprop's own modules in a bare loop over cached graphs; and their floor.

QM9 molecules, d_h 300, depth 3, batch 64, float32. Both sides build their graphs beforehand and then take turns: forty
steps each, of which the median counts. With one thread seconds are the processor's, which other programs on the machine disturb less.
The floor is the time that the machine needs for the products of matrices alone: every directed bond in two updates, every
atom, the head, forward and twice that backward, at the rate of the machine's own products of these sizes.

    python benchmarks/speed_training.py --data DATA --chemprop-python CHEMPROP_ENV/bin/python
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from speed_common import Peer, has_chemprop, keep, operations, parser, product_rate, qm9, row

BATCH = 64
STEPS = 40

CHEMPROP = """
import json, sys, time
import numpy as np, torch
from chemprop.data import MoleculeDatapoint, MoleculeDataset, build_dataloader
from chemprop.models import MPNN
from chemprop.nn import BondMessagePassing, NormAggregation, RegressionFFN
torch.set_num_threads(int(sys.argv[2]))
table = json.load(open(sys.argv[1]))
y = np.array(table["y"])
y = (y - y.mean()) / y.std()
points = [MoleculeDatapoint.from_smi(s, np.array([v])) for s, v in zip(table["smiles"], y)]
data = MoleculeDataset(points)
data.cache = True
loader = build_dataloader(data, batch_size=64, seed=0)
model = MPNN(BondMessagePassing(), NormAggregation(), RegressionFFN(), batch_norm=False)
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
model.train()
seconds = time.process_time if sys.argv[2] == "1" else time.perf_counter
def endless():
    while True:
        yield from loader
batches = endless()
def step():
    batch = next(batches)
    optimiser.zero_grad()
    Z = model.fingerprint(batch.bmg)
    loss = (model.predictor.train_step(Z).squeeze(-1) - batch.Y).square().mean()
    loss.backward()
    optimiser.step()
for _ in range(3):
    step()
print("ready", flush=True)
for line in sys.stdin:
    times = [seconds()]
    for _ in range(int(line)):
        step()
        times.append(seconds())
    print(json.dumps(float(np.median(np.diff(times)))), flush=True)
"""


def serve(path: str, threads: int) -> None:
    """Our side, in a process of its own: steps on request, or the rate of products of their sizes."""
    import numpy as np
    import torch

    from fusionbook.graphs import pack_graphs
    from fusionbook.training import TrainConfig, _Shuffled, _Stepper, build_network

    torch.set_num_threads(threads)
    table = json.loads(Path(path).read_text())
    y = np.array(table["y"])
    store = pack_graphs(table["smiles"], n_jobs=1)
    Y = torch.as_tensor((y - y.mean()) / y.std(), dtype=torch.float32).unsqueeze(1)
    config = TrainConfig(batch_size=BATCH, precision="float32", device="cpu")
    stepper = _Stepper(build_network(1, config, store, 0), store, Y, np.arange(len(y)), config)
    batches = _Shuffled(np.arange(len(y)), BATCH, 0)
    seconds = time.process_time if threads == 1 else time.perf_counter
    share = BATCH / len(store)
    n_bonds, n_atoms = round(store.edge_index.shape[1] * share), round(len(store.atom_type) * share)
    for _ in range(3):
        stepper.step(batches.next(), 1e-3)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "floor":
            rate = product_rate(n_bonds, seconds)
            print(json.dumps(3 * operations(n_bonds, n_atoms, BATCH) / rate), flush=True)
            continue
        times = [seconds()]
        for _ in range(int(line)):
            stepper.step(batches.next(), 1e-3)
            times.append(seconds())
        print(json.dumps(float(np.median(np.diff(times)))), flush=True)


def measure(python: str, file: str, threads: int, repeats: int) -> dict[str, list[float]]:
    """Seconds a step of both sides, and of the products alone; they take turns."""
    ours = Peer([sys.executable, __file__, "--serve", file, str(threads)], threads)
    peer = Peer([python, "-c", CHEMPROP, file, str(threads)], threads)
    seconds = {"ours": [], "peer": [], "floor": []}
    for _ in range(repeats):
        seconds["peer"].append(peer.ask(str(STEPS)))
        seconds["floor"].append(ours.ask("floor"))
        seconds["ours"].append(ours.ask(str(STEPS)))
    ours.close()
    peer.close()
    return seconds


def rows_of(seconds: dict[str, list[float]], threads: int) -> list[dict]:
    many = "one thread" if threads == 1 else "two threads"
    kind = "processor time" if threads == 1 else "wall"
    rates = {name: [BATCH / one for one in values] for name, values in seconds.items()}
    shares = {
        name: [100 * f / one for f, one in zip(seconds["floor"], seconds[name])] for name in ("ours", "peer")
    }
    first = row(
        f"training step, float32, batch 64, {many}",
        rates["ours"],
        rates["peer"],
        f"molecules/s ({kind})",
        True,
    )
    second = row(
        f"training step, share of the rate of products, {many}", shares["ours"], shares["peer"], "%", True
    )
    second["note"] = (
        "products that the network defines, over the machine's rate; ours exceeds 100 % where equal states are computed once"
    )
    return [first, second]


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        return serve(sys.argv[2], int(sys.argv[3]))
    options = parser(__doc__).parse_args()
    if not has_chemprop(options):
        return None
    frame = qm9(options.data, 3000)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "qm9.json"
        file.write_text(json.dumps({"smiles": frame["smiles"].tolist(), "y": frame["gap"].tolist()}))
        for threads in (1, 2):
            seconds = measure(options.chemprop_python, str(file), threads, options.repeats)
            print(
                {name: round(1e3 * statistics.median(values), 2) for name, values in seconds.items()},
                "ms a step",
            )
            rows += rows_of(seconds, threads)
    keep(rows, options.out)
    return None


if __name__ == "__main__":
    main()

"""Training steps, twelve encoders and embedding on a GPU, against Chemprop's own modules on the same GPU.

QM9 molecules, d_h 300, depth 3. Steps: both sides build their graphs beforehand and then take turns, 200 steps each, of which the
device has done the last one before the clock is read; Chemprop's loop is bare, over cached graphs, in float32. `twelve networks`
are stacked into one program and take one step each, on batches of their own; Chemprop, which has no such thing, trains one.
The floor is the time of the step's products of matrices alone, at the rate of this GPU at products of these sizes, in float32.

Twelve encoders: sparse QM9, 4,000 molecules, 10 % of the labels of 12 properties, our defaults, as one program and one after the
other; here the peer is ourselves. Embedding: from a CSV file to a file, programs' start-up included, against `chemprop fingerprint`.

    python benchmarks/speed_gpu.py --data DATA --chemprop-python CHEMPROP_ENV/bin/python
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from speed_common import Peer, has_chemprop, keep, operations, parser, processor, qm9, row, timed, zinc
from speed_embedding import STREAM

STEPS = 200
N_EMBEDDED = 50_000
CASES = {
    "float32, batch 64": (1, 64, "float32"),
    "float32, batch 512": (1, 512, "float32"),
    "bfloat16, batch 512": (1, 512, "bfloat16"),
    "float32, batch 64, twelve networks": (12, 64, "float32"),
    "bfloat16, batch 64, twelve networks": (12, 64, "bfloat16"),
}

CHEMPROP = """
import json, sys, time
import numpy as np, torch
from chemprop.data import MoleculeDatapoint, MoleculeDataset, build_dataloader
from chemprop.models import MPNN
from chemprop.nn import BondMessagePassing, NormAggregation, RegressionFFN
table = json.load(open(sys.argv[1]))
y = np.array(table["y"])
y = (y - y.mean()) / y.std()
data = MoleculeDataset([MoleculeDatapoint.from_smi(s, np.array([v])) for s, v in zip(table["smiles"], y)])
data.cache = True
model = MPNN(BondMessagePassing(), NormAggregation(), RegressionFFN(), batch_norm=False).to("cuda")
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
model.train()
def endless(size):
    loader = build_dataloader(data, batch_size=size, seed=0)
    while True:
        yield from loader
batches = {size: endless(size) for size in (64, 512)}
def step(size):
    batch = next(batches[size])
    batch.bmg.to("cuda")
    optimiser.zero_grad()
    Z = model.fingerprint(batch.bmg)
    loss = (model.predictor.train_step(Z).squeeze(-1) - batch.Y.to("cuda")).square().mean()
    loss.backward()
    optimiser.step()
for size in batches:
    for _ in range(20):
        step(size)
print("ready", flush=True)
for line in sys.stdin:
    size, steps = map(int, line.split())
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step(size)
    torch.cuda.synchronize()
    print(json.dumps((time.perf_counter() - start) / steps), flush=True)
"""

FINGERPRINT = "from chemprop.cli.main import main; main()"

MODEL = """
import sys
from fusionbook import SingleTask, TrainConfig, read_molecules, split_molecules
table = read_molecules(sys.argv[1], tasks=["gap"])
config = TrainConfig(max_steps=20, evaluations=2)
SingleTask(config, progress=False).fit(table, split_molecules(table)).save(sys.argv[2])
"""


def steppers(file: str) -> dict[str, tuple]:
    """For each case, what takes its steps and the batches to come."""
    from fusionbook.graphs import pack_graphs
    from fusionbook.training import TrainConfig, _Shuffled, _StackStepper, _Stepper, build_network

    table = json.loads(Path(file).read_text())
    y = np.array(table["y"])
    store = pack_graphs(table["smiles"])
    Y = torch.as_tensor((y - y.mean()) / y.std(), dtype=torch.float32).unsqueeze(1)
    rows = np.arange(len(y))
    found = {}
    for name, (T, batch_size, precision) in CASES.items():
        config = TrainConfig(batch_size=batch_size, precision=precision, device="cuda")
        networks = [build_network(1, config, store, seed) for seed in range(T)]
        batches = [_Shuffled(rows, batch_size, seed) for seed in range(T)]
        if T == 1:
            stepper = _Stepper(networks[0], store, Y, rows, config)
        else:
            stepper = _StackStepper(networks, store, [Y] * T, [rows] * T, config)
        found[name] = stepper, batches
    return found


def take(stepper, batches: list, steps: int) -> float:
    """Seconds a step."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        rows = [one.next() for one in batches]
        if len(batches) == 1:
            stepper.step(rows[0], 1e-3)
        else:
            stepper.step(rows, [1e-3] * len(rows))
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def busy(stepper, batches: list, steps: int = 20) -> tuple[float, float]:
    """Milliseconds that the GPU computes in a step, and the programs that are started on it in a step."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        take(stepper, batches, steps)
    events = [one for one in profile.key_averages() if one.device_type == torch.autograd.DeviceType.CUDA]
    milliseconds = sum(one.self_device_time_total for one in events) / 1e3 / steps
    return milliseconds, sum(one.count for one in events) / steps


def gpu_product_rate(n_rows: int, T: int, d_h: int = 300) -> float:
    """Operations a second of the three products of a layer, forward and twice backward, in float32."""
    X, G = torch.randn(T, n_rows, d_h, device="cuda"), torch.randn(T, n_rows, d_h, device="cuda")
    W = torch.randn(T, d_h, d_h, device="cuda")
    repeats, seconds = 50, []
    for _ in range(7):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            torch.bmm(X, W.mT)
            torch.bmm(G, W)
            torch.bmm(G.mT, X)
        torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / repeats)
    return 6 * T * n_rows * d_h * d_h / min(seconds)


def machine() -> str:
    gpu = torch.cuda.get_device_name()
    return f"{processor()}, {os.cpu_count()} cores, {gpu}, load average {os.getloadavg()[0]:.1f}"


def on_this_gpu(rows: list[dict], note: str = "") -> list[dict]:
    return [one | dict(machine=machine()) | (dict(note=note) if note else {}) for one in rows]


def steps_of(file: Path, python: str, repeats: int) -> list[dict]:
    """Molecules a second in training; both sides take turns."""
    peer = Peer([python, "-c", CHEMPROP, str(file)], threads=os.cpu_count())
    cases = steppers(str(file))
    store = next(iter(cases.values()))[0].inputs
    rows = []
    for name, (T, batch_size, _) in CASES.items():
        stepper, batches = cases[name]
        take(stepper, batches, 20)
        ours, theirs = [], []
        for _ in range(repeats):
            theirs.append(peer.ask(f"{batch_size} {STEPS}"))
            ours.append(take(stepper, batches, STEPS))
        kernels = busy(stepper, batches)
        rates = [T * batch_size / one for one in ours], [batch_size / one for one in theirs]
        rows.append(row(f"training step, GPU, {name}", *rates, "molecules/s", True))
        share = batch_size / len(store)
        n_bonds, n_atoms = round(store.edge_index.shape[1] * share), round(len(store.atom_type) * share)
        floor = 3 * operations(n_bonds, n_atoms, batch_size)
        ours_floor, peer_floor = (count * floor / gpu_product_rate(n_bonds, count) for count in (T, 1))
        shares = [100 * ours_floor / one for one in ours], [100 * peer_floor / one for one in theirs]
        rows.append(row(f"training step, GPU, share of the rate of products, {name}", *shares, "%", True))
        print(
            f"{name}: {1e3 * statistics.median(ours):.2f} ms a step (Chemprop {1e3 * statistics.median(theirs):.2f}), "
            f"the GPU computes {kernels[0]:.2f} ms in {kernels[1]:.0f} programs",
            flush=True,
        )
    peer.close()
    return on_this_gpu(rows)


def twelve(data: Path, repeats: int) -> list[dict]:
    """Seconds for the twelve encoders of sparse QM9, as one program and one after the other."""
    from evidence import qm9 as sparse_qm9

    from fusionbook import SingleTask

    table, split = sparse_qm9(data / "qm9_complete.csv.gz", 0)
    seconds = {True: [], False: []}
    for _ in range(repeats):
        for stacked in seconds:
            start = time.perf_counter()
            SingleTask(n_jobs=None if stacked else 1, progress=False).fit(table, split)
            seconds[stacked].append(time.perf_counter() - start)
    rows = [
        row("twelve encoders, GPU, as one program against one after the other", *seconds.values(), "s", False)
    ]
    return on_this_gpu(rows, "both sides are ours")


def embedding(folder: Path, data: Path, python: str, repeats: int) -> list[dict]:
    """Seconds from a CSV file of SMILES to a file of embeddings."""
    import pandas as pd

    train, source = folder / "train.csv", folder / "zinc.csv"
    qm9(data, 300)[["smiles", "gap"]].to_csv(train, index=False)
    pd.DataFrame({"smiles": zinc(data, N_EMBEDDED)}).to_csv(source, index=False)
    (folder / "stream.py").write_text(STREAM)
    timed([sys.executable, "-c", MODEL, train, folder / "ours"])
    chemprop = [python, "-c", FINGERPRINT]
    timed(
        [*chemprop, "train", "--data-path", train, "--epochs", "3", "--output-dir", folder / "peer"]
        + ["--accelerator", "gpu", "--devices", "1"]
    )
    peer = [*chemprop, "fingerprint", "--test-path", source, "--ffn-block-index", "0", "--accelerator", "gpu"]
    peer += ["--devices", "1", "--model-paths", folder / "peer" / "model_0" / "best.pt"]
    seconds = {"ours": [], "peer": []}
    for number in range(repeats):
        seconds["peer"].append(timed([*peer, "--output", folder / f"peer{number}.npz"])[0])
        out = folder / f"ours{number}.parquet"
        seconds["ours"].append(timed([sys.executable, folder / "stream.py", folder / "ours", source, out])[0])
    rates = [[N_EMBEDDED / one for one in values] for values in seconds.values()]
    name = f"embedding, GPU, {N_EMBEDDED:,} molecules from SMILES text, start-up included"
    return on_this_gpu([row(name, *rates, "molecules/s", True)])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=("steps", "twelve", "embedding"), help="default: all")
    options = options.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: nothing measured.")
        return
    if not has_chemprop(options):
        return
    frame = qm9(options.data, 3000)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "qm9.json"
        file.write_text(json.dumps({"smiles": frame["smiles"].tolist(), "y": frame["gap"].tolist()}))
        parts = {
            "steps": lambda: steps_of(file, options.chemprop_python, options.repeats),
            "twelve": lambda: twelve(options.data, 1),
            "embedding": lambda: embedding(Path(folder), options.data, options.chemprop_python, 2),
        }
        for name in options.only or parts:
            keep(parts[name](), options.out)


if __name__ == "__main__":
    main()

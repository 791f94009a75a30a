"""Training steps on a GPU, against Chemprop's own modules on the same GPU.

QM9 molecules, d_h 300, depth 3. Steps: both sides build their graphs beforehand and then take turns, 200 steps each, of which the
device has done the last one before the clock is read; Chemprop's loop is bare, over cached graphs, in float32. `twelve networks`
are stacked into one program and take one step each, on batches of their own; Chemprop, which has no such thing, trains one.
The floor is the time of the step's products of matrices alone, at the rate of this GPU at products of these sizes, in float32.

    python benchmarks/speed_gpu.py --data DATA --chemprop-python CHEMPROP_ENV/bin/python
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from speed_common import Peer, has_chemprop, keep, operations, parser, processor, qm9, row

STEPS = 200
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


def steppers(file: str) -> dict[str, tuple]:
    """For each case, what takes its steps and the batches to come."""
    from fusionbook.graphs import pack_graphs
    from fusionbook.training import TrainConfig, _Shuffled, _StackStepper, build_network

    torch.set_num_threads(1)  # as `fit_many` does on a GPU
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
        found[name] = _StackStepper(networks, store, [Y] * T, [rows] * T, config), batches
    return found


def take(stepper, batches: list, steps: int) -> float:
    """Seconds a step."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        stepper.step([one.next() for one in batches], [1e-3] * len(batches))
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
    return [one | dict(machine=machine()) for one in rows]


def main() -> None:
    options = parser(__doc__).parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: nothing measured.")
        return
    if not has_chemprop(options):
        return
    frame = qm9(options.data, 3000)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "qm9.json"
        file.write_text(json.dumps({"smiles": frame["smiles"].tolist(), "y": frame["gap"].tolist()}))
        keep(steps_of(file, options.chemprop_python, options.repeats), options.out)


if __name__ == "__main__":
    main()

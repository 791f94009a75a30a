"""Where the time of a training step and of a million embedded SMILES goes, before and after what this project did about it.

"Before" is the naive twin of each part, which the notebooks keep as the oracle: every bond and atom computed, 64 molecules at a time,
Adam one kernel a weight, RDKit asked atom by atom. One thread, processor time, float32; the million is scaled from fewer molecules.
Writes results/profile.md, which speed_table.py puts into README.md.

    python benchmarks/speed_profile.py --data DATA
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from speed_common import machine, parser, qm9, zinc
from torch.profiler import ProfilerActivity, profile

from fusionbook import dmpnn
from fusionbook.dmpnn import distinct_states
from fusionbook.embeddings import stream_molecules
from fusionbook.graphs import _merge, _piece_by_calls, pack_graphs, read_graphs
from fusionbook.molecules import parse_smiles
from fusionbook.training import TrainConfig, _Shuffled, _Stepper, build_network, predict_rows

ADAM = "Optimizer.step#AdamW.step"
KINDS = {
    "products of matrices": ("aten::mm", "aten::addmm", "aten::bmm"),
    "sums and gathers over bonds and atoms": (
        "aten::index_add_",
        "aten::index_add",
        "aten::index_select",
        "aten::index",
        "aten::_index_put_impl_",
        "aten::_embedding_bag",
        "aten::_embedding_bag_dense_backward",
        "aten::gather",
    ),
}


def seconds(work: callable, repeats: int = 1) -> float:
    """Processor time of the work: the median of some repeats."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def step_profile(smiles: list[str], y: np.ndarray, merged: bool) -> dict[str, float]:
    """Milliseconds of one step, batch 64, and of its parts."""
    store = pack_graphs(smiles)
    Y = torch.as_tensor((y - y.mean()) / y.std(), dtype=torch.float32).unsqueeze(1)
    config = TrainConfig(batch_size=64, precision="float32", device="cpu")
    stepper = _Stepper(build_network(1, config, store, 0), store, Y, np.arange(len(y)), config)
    if not merged:
        stepper.optimiser = torch.optim.AdamW(stepper.module.parameters(), weight_decay=0.0, foreach=False)
    batches = _Shuffled(np.arange(len(y)), 64, 0)
    dmpnn.REPEATS_FROM, kept = (dmpnn.REPEATS_FROM if merged else float("inf")), dmpnn.REPEATS_FROM
    step = lambda: stepper.step(batches.next(), 1e-3)  # noqa: E731
    for _ in range(5):
        step()
    found = {"whole step": 1e3 * seconds(step, 60)}
    with profile(activities=[ProfilerActivity.CPU]) as told:
        for _ in range(40):
            step()
    events = {one.key: one for one in told.key_averages()}
    whole = sum(one.self_cpu_time_total for one in events.values())
    times = {
        kind: sum(events[name].self_cpu_time_total for name in names if name in events)
        for kind, names in KINDS.items()
    } | {"Adam": events[ADAM].cpu_time_total}
    found |= {kind: time / whole * found["whole step"] for kind, time in times.items()}
    batch = store.batch(batches.next())
    found["finding equal states"] = 1e3 * seconds(lambda: distinct_states(batch, 3), 40) if merged else 0.0
    found["the rest"] = 2 * found["whole step"] - sum(found.values())
    dmpnn.REPEATS_FROM = kept
    return found


def library_profile(smiles: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds for a million SMILES, before and after: parsing, other work on graphs, encoder, Parquet."""
    scale = 1e6 / len(smiles)
    few = smiles[: len(smiles) // 10]
    by_calls = 10 * scale * seconds(lambda: _merge([_piece_by_calls([parse_smiles(t)[0] for t in few])]))
    turns = [
        (seconds(lambda: _parse(smiles)), seconds(lambda: read_graphs(smiles, n_jobs=1))) for _ in range(3)
    ]
    parse, graphs = (scale * statistics.median(kind) for kind in zip(*turns))
    store = pack_graphs(smiles, n_jobs=1)
    encoder = build_network(1, TrainConfig(), store, 0).encoder
    after = scale * seconds(lambda: predict_rows(encoder, store))
    kept, dmpnn.REPEATS_FROM = dmpnn.REPEATS_FROM, float("inf")
    before = 10 * scale * seconds(lambda: predict_rows(encoder, store, np.arange(len(few)), batch_size=64))
    dmpnn.REPEATS_FROM = kept
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "x.csv", Path(folder) / "x.parquet"
        source.write_text("smiles\n" + "\n".join(smiles) + "\n")
        Z = np.random.default_rng(0).normal(size=(len(smiles), 300)).astype(np.float32)
        compute = _Ready(Z)
        write = scale * seconds(lambda: stream_molecules(source, target, compute, progress=False, n_jobs=1))
    names = ("reading SMILES and making graphs", "of which RDKit's parser", "encoder", "CSV in, Parquet out")
    return dict(zip(names, (by_calls, parse, before, write))), dict(zip(names, (graphs, parse, after, write)))


def _parse(smiles):
    """Read all SMILES and keep no molecule."""
    for text in smiles:
        parse_smiles(text)


class _Ready:
    """Embeddings that are there already: what remains is reading and writing."""

    def __init__(self, Z):
        self.Z, self.first = Z, 0

    def __call__(self, texts):
        import pandas as pd

        part = self.Z[self.first : self.first + len(texts)]
        self.first += len(texts)
        return pd.DataFrame(part, columns=[f"y {i}" for i in range(part.shape[1])])


def table(title: str, unit: str, before: dict, after: dict) -> str:
    lines = [f"| {title} | before, {unit} | after, {unit} |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {before[name]:.3g} | {after[name]:.3g} |" for name in before])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--molecules", type=int, default=20_000, help="ZINC molecules of the library")
    options = options.parse_args()
    torch.set_num_threads(1)
    frame = qm9(options.data, 3000)
    steps = [
        step_profile(frame["smiles"].tolist(), frame["gap"].to_numpy(), merged) for merged in (False, True)
    ]
    library = library_profile(zinc(options.data, options.molecules))
    about = f"{machine()}; one thread, processor time; torch.profiler for the parts of a step."
    parts = [table("one training step, QM9, batch 64", "ms", *steps)]
    parts.append(table(f"a million ZINC SMILES, scaled from {options.molecules:,}", "s", *library))
    text = "\n\n".join([about, *parts])
    print(text)
    options.out.with_name("profile.md").write_text(text + "\n")


if __name__ == "__main__":
    main()

"""From SMILES text to embeddings on disk: time and memory, against `chemprop fingerprint`.

Drug-like molecules of ZINC, one encoder (d_h 300, depth 3). Both programs start, read a CSV file and a saved model, and write what
they found; both have the whole machine, and start-up is included. Ours writes Parquet with `stream_molecules`, Chemprop its .npz.
As Chemprop needs minutes for what takes us seconds, each repeat gives it another third of the molecules, so that it has embedded all
of them after three; its start-up, measured with 100 molecules, is counted once: seconds = start-up + 3 x (third - start-up).

Memory is the largest sum, over a program and its children, of the memory that is theirs alone plus their part of what is shared (PSS),
looked at three times a second, in a run that is not timed. The million rows are the 249,455 molecules four times and some; what is
kept in memory does not depend on whether a row was seen before. Chemprop's memory grows with the table; its figure for a million
lies on the line through two smaller tables, and the row's name says so.

    python benchmarks/speed_embedding.py --data DATA --chemprop-python CHEMPROP_ENV/bin/python
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from speed_common import has_chemprop, keep, parser, qm9, row, timed, zinc

STREAM = """
import sys
from fusionbook import load_model
from fusionbook.embeddings import stream_molecules
if __name__ == "__main__":
    model = load_model(sys.argv[1])
    stream_molecules(sys.argv[2], sys.argv[3], model.embed, progress=False)
"""


def make_models(python: str, data: Path, folder: Path) -> None:
    """A model of each program, trained for a moment: speed does not depend on the weights."""
    from fusionbook import SingleTask, TrainConfig, read_molecules, split_molecules

    frame = qm9(data, 300)[["smiles", "gap"]]
    frame.to_csv(folder / "train.csv", index=False)
    table = read_molecules(frame, tasks=["gap"])
    config = TrainConfig(max_steps=20, evaluations=2)
    SingleTask(config, progress=False).fit(table, split_molecules(table)).save(folder / "ours")
    (folder / "stream.py").write_text(STREAM)
    if python:
        command = [
            Path(python).with_name("chemprop"),
            "train",
            "--data-path",
            folder / "train.csv",
            "--epochs",
            "3",
        ]
        timed([*command, "--output-dir", folder / "peer", "--accelerator", "cpu"])


def ours(folder: Path, source: Path) -> list[str]:
    return [
        str(word)
        for word in (sys.executable, folder / "stream.py", folder / "ours", source, folder / "ours.parquet")
    ]


def peer(python: str, folder: Path, source: Path) -> list[str]:
    command = [
        Path(python).with_name("chemprop"),
        "fingerprint",
        "--test-path",
        source,
        "--ffn-block-index",
        "0",
    ]
    command += ["--model-paths", folder / "peer" / "model_0" / "best.pt", "--output", folder / "peer.npz"]
    return [str(word) for word in [*command, "--accelerator", "cpu"]]


def descendants(pid: int) -> list[int]:
    """A process and all its children's children."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def memory_mb(pid: int) -> float:
    """Memory of a process and its children: their own pages, and their part of shared ones."""
    total = 0
    for one in descendants(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024 / 1e6


def peak(command: list[str]) -> tuple[float, float]:
    """Run a program; its largest memory in MB and its seconds."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    largest = 0.0
    while process.poll() is None:
        largest = max(largest, memory_mb(process.pid))
        time.sleep(0.3)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return largest, time.perf_counter() - start


def write(folder: Path, name: str, smiles: list[str]) -> Path:
    path = folder / f"{name}.csv"
    pd.DataFrame({"smiles": smiles}).to_csv(path, index=False)
    return path


def speed_rows(options, folder: Path, smiles: list[str]) -> list[dict]:
    python, n, third = options.chemprop_python, len(smiles), len(smiles) // 3
    everything, little = write(folder, "all", smiles), write(folder, "little", smiles[:100])
    rates = {name: ([], []) for name in ("wall", "processor")}
    for repeat in range(options.repeats):
        first = repeat % 3 * third
        part = write(folder, "part", smiles[first : first + third])
        start, other = (timed(peer(python, folder, file)) for file in (little, part))
        own = timed(ours(folder, everything))
        print(
            f"embedding: Chemprop {start} s for 100, {other} s for {third:,}; ours {own} s for {n:,}",
            flush=True,
        )
        for (mine, theirs), seconds, startup, more in zip(rates.values(), own, start, other):
            mine.append(n / seconds)
            theirs.append(n / (startup + n / third * (more - startup)))
    name = f"embedding {n:,} ZINC SMILES, text to numbers, start-up included (Chemprop: a third a repeat)"
    return [row(f"{name}, {kind}", *both, f"molecules/s ({kind} time)", True) for kind, both in rates.items()]


def memory_rows(options, folder: Path, smiles: list[str]) -> list[dict]:
    n, sizes = options.memory_molecules, (options.molecules // 30, options.molecules // 6)
    source = write(folder, "million", (smiles * (n // len(smiles) + 1))[:n])
    own, seconds = peak(ours(folder, source))
    print(f"memory: {own:.0f} MB, {seconds:.0f} s for {n:,}", flush=True)
    (folder / "ours.parquet").unlink()
    few, more = (
        peak(peer(options.chemprop_python, folder, write(folder, "part", smiles[:size])))[0] for size in sizes
    )
    print(f"memory: Chemprop {few:.0f} MB for {sizes[0]:,}, {more:.0f} MB for {sizes[1]:,}", flush=True)
    on_line = more + (more - few) / (sizes[1] - sizes[0]) * (n - sizes[1])
    name = f"memory, embedding {n:,} SMILES (Chemprop: on the line through {sizes[0]:,} and {sizes[1]:,})"
    one = row(name, [own], [on_line], "MB", False)
    return [one | {"seconds ours": round(seconds, 1), "MB peer": [round(few), round(more)]}]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--molecules", type=int, default=100_000)
    options.add_argument("--memory-molecules", type=int, default=1_000_000)
    options = options.parse_args()
    if not has_chemprop(options):
        return
    smiles = zinc(options.data, 249_455)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("OMP_NUM_THREADS", None)  # each program as its users have it
        make_models(options.chemprop_python, options.data, Path(folder))
        keep(speed_rows(options, Path(folder), smiles[: options.molecules]), options.out)
        keep(memory_rows(options, Path(folder), smiles), options.out)


if __name__ == "__main__":
    main()

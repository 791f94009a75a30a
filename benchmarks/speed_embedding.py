"""From SMILES text to embeddings on disk: time against `chemprop fingerprint`, and memory for a million SMILES.

Drug-like molecules of ZINC, one encoder (d_h 300, depth 3). Both programs start, read a CSV file and a saved model, and write what
they found; start-up is included. Ours writes Parquet with `stream_molecules`, Chemprop its .npz. As Chemprop needs minutes for what
takes us seconds, it gets fewer molecules, and both are compared a molecule; the name of the row says so. Start-up weighs more on
the smaller file: Chemprop's time is therefore measured for two sizes, and the difference is what counts.

Memory is the largest sum, over a program and its children, of the memory that is theirs alone plus their part of what is shared (PSS).
The million are the 249,455 molecules four times and some, in rows of their own.

    python benchmarks/speed_embedding.py --data DATA --chemprop-python CHEMPROP_ENV/bin/python --repeats 3
"""

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


def family(pid: int) -> list[int]:
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
    for one in family(pid):
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
    python, few, many = options.chemprop_python, options.peer_molecules, len(smiles)
    files = [
        write(folder, name, smiles[:n]) for name, n in (("few", few), ("fewest", few // 10), ("all", many))
    ]
    rates = {name: ([], []) for name in ("wall", "processor")}
    for _ in range(options.repeats):
        short, long = (timed(peer(python, folder, file)) for file in (files[1], files[0]))
        own = timed(ours(folder, files[2]))
        print(f"embedding: Chemprop {short} s and {long} s, ours {own} s", flush=True)
        for (mine, theirs), one, less, more in zip(rates.values(), own, short, long):
            mine.append(many / one)
            theirs.append((few - few // 10) / (more - less))
    name = f"embedding {many:,} ZINC SMILES, text to numbers, start-up included (Chemprop: {few:,}, start-up excluded)"
    return [row(f"{name}, {kind}", *both, f"molecules/s ({kind} time)", True) for kind, both in rates.items()]


def memory_rows(options, folder: Path, smiles: list[str]) -> list[dict]:
    source = write(
        folder,
        "million",
        (smiles * (options.memory_molecules // len(smiles) + 1))[: options.memory_molecules],
    )
    own, seconds = peak(ours(folder, source))
    print(f"memory: {own:.0f} MB, {seconds:.0f} s for {options.memory_molecules:,}", flush=True)
    (folder / "ours.parquet").unlink()
    other, _ = peak(peer(options.chemprop_python, folder, folder / "few.csv"))
    name = f"memory, embedding {options.memory_molecules:,} SMILES (Chemprop: {options.peer_molecules:,})"
    one = row(name, [own], [other], "MB", False)
    one["seconds ours"] = round(seconds, 1)
    return [one]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--molecules", type=int, default=100_000)
    options.add_argument("--peer-molecules", type=int, default=10_000)
    options.add_argument("--memory-molecules", type=int, default=1_000_000)
    options = options.parse_args()
    if not has_chemprop(options):
        return
    smiles = zinc(options.data, 249_455)
    with tempfile.TemporaryDirectory() as folder:
        make_models(options.chemprop_python, options.data, Path(folder))
        keep(speed_rows(options, Path(folder), smiles[: options.molecules]), options.out)
        keep(memory_rows(options, Path(folder), smiles), options.out)


if __name__ == "__main__":
    main()

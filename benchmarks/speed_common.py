"""What the speed benchmarks share: molecules, a peer process that waits for its turn, rows and their file.

A row compares us with a peer at the same work: `ours`, `peer` (medians), `unit`, `ratio` (above 1: we are faster or
smaller), `spread` (smallest and largest ratio of the repeats), the `command`, and the `machine` with its load when the
measurement began.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results" / "speed.json"
FAMILIES = (
    "training step",
    "time to",
    "twelve encoders",
    "embedding",
    "featurisation",
    "memory",
    "scaling",
)


def parser(about: str) -> argparse.ArgumentParser:
    """The options that all these scripts have."""
    options = argparse.ArgumentParser(description=about.splitlines()[0])
    options.add_argument("--chemprop-python", default="", help="python of an environment with Chemprop 2.3.1")
    options.add_argument(
        "--data", type=Path, required=True, help="folder with qm9_complete.csv.gz and zinc250k.csv.gz"
    )
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument(
        "--out", type=Path, default=RESULTS, help="JSON file; the script's older rows are replaced"
    )
    return options


def has_chemprop(options: argparse.Namespace) -> bool:
    found = bool(options.chemprop_python) and Path(options.chemprop_python).exists()
    if not found:
        print("No Chemprop environment (--chemprop-python): the comparison with Chemprop is skipped.")
    return found


def qm9(data: Path, n: int, seed: int = 0) -> pd.DataFrame:
    """Draw QM9 molecules with all their targets."""
    frame = pd.read_csv(data / "qm9_complete.csv.gz")
    return frame.sample(n, random_state=seed).reset_index(drop=True)


def zinc(data: Path, n: int) -> list[str]:
    """The first n drug-like molecules of ZINC in a random order."""
    smiles = pd.read_csv(data / "zinc250k.csv.gz")["smiles"].str.strip()
    return smiles.sample(n, random_state=0).tolist()


class Peer:
    """A process that waits for its turn: it gets a line and answers with a line of JSON."""

    def __init__(self, command: list[str], threads: int = 1):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{command[:2]} did not start")

    def ask(self, line: str = "go") -> object:
        self.send(line)
        return self.answer()

    def send(self, line: str = "go") -> None:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> object:
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine() -> str:
    return f"{processor()}, {os.cpu_count()} cores, no GPU, load average {LOAD:.1f} at the start"


LOAD = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def command(words: list[str]) -> str:
    """This script's command line, with the folders of this machine replaced by names."""
    words = [f"benchmarks/{Path(words[0]).name}", *words[1:]]
    for option, name in (("--data", "DATA"), ("--chemprop-python", "CHEMPROP"), ("--out", "OUT")):
        if option in words:
            words[words.index(option) + 1] = name
    return f"python {' '.join(words)}"


def row(name: str, ours: list[float], peer: list[float], unit: str, larger_is_better: bool) -> dict:
    """Medians, the median ratio, and the smallest and largest ratio of a repeat."""
    ratios = [(a / b) if larger_is_better else (b / a) for a, b in zip(ours, peer, strict=True)]
    return {
        "name": name,
        "ours": float(f"{statistics.median(ours):.4g}"),
        "peer": float(f"{statistics.median(peer):.4g}"),
        "unit": unit,
        "ratio": round(statistics.median(ratios), 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "repeats": len(ratios),
        "command": command(sys.argv),
        "machine": machine(),
    }


def keep(rows: list[dict], path: Path) -> None:
    """Print rows and put them into the file, in the place of the rows that this script wrote there of their families."""
    for one in rows:
        print(
            f"{one['name']}: x {one['ratio']:.2f} ({one['spread'][0]:.2f}-{one['spread'][1]:.2f})", flush=True
        )
    old = json.loads(path.read_text()) if path.exists() else []
    replaced = {source(one) for one in rows}
    together = [one for one in old if source(one) not in replaced] + rows
    together.sort(key=lambda one: FAMILIES.index(family(one["name"])))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(together, indent=1) + "\n")
    part.replace(path)


def family(name: str) -> str:
    return next(start for start in FAMILIES if name.startswith(start))


def source(one: dict) -> tuple[str, str]:
    """Family and script of a row."""
    return family(one["name"]), one["command"].split()[1]


def timed(command: list) -> tuple[float, float]:
    """Run a program to its end, its start-up included: seconds of the clock, and of the processors."""
    before, start = children(), time.perf_counter()
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return time.perf_counter() - start, children() - before


def children() -> float:
    """Processor time of all programs that were started here and have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def operations(n_bonds: float, n_atoms: float, n: float, d_h: int = 300, depth: int = 3) -> float:
    """Floating-point operations of the d_h x d_h products of one pass forward: every bond, every atom, the head."""
    return 2 * d_h * d_h * ((depth - 1) * n_bonds + n_atoms + n)


def product_rate(n_rows: int, seconds: callable, d_h: int = 300, repeats: int = 20) -> float:
    """Operations a second of the three products of a layer (forward, and two backward) with this many rows."""
    import torch

    X, G, W = torch.randn(n_rows, d_h), torch.randn(n_rows, d_h), torch.randn(d_h, d_h)
    times = []
    for _ in range(repeats):
        start = seconds()
        X @ W.T
        G @ W
        G.T @ X
        times.append(seconds() - start)
    return 6 * n_rows * d_h * d_h / min(times)

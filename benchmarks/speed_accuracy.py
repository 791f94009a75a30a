"""Wall-clock time to equal accuracy: one property, and twelve encoders of a sparse table, against `chemprop train`.

QM9 molecules; the same rows, split and architecture (d_h 300, depth 3, sum / 100); programs run one after the other, each as a
command of its own, start-up included. Chemprop runs with its defaults (50 epochs, batch 64).

"time to": gap of 4,000 molecules (80/10/10). Chemprop's time is that of `chemprop train`, up to the test predictions it
makes; its validation error is computed from its best checkpoint afterwards, outside the time. Ours is the time from the
start of Python until a validation round is at least as good; then the training goes on to its end, for the test error.
Our network here: batch 32, 30 epochs, peak rate 2e-3 (our defaults plan 100 epochs, and so come down later).

"twelve encoders": twelve properties, each with labels for 20 % of 4,000 molecules. Ours is `SingleTask().fit` of all twelve,
once with Chemprop's length (50 epochs, batch 64) and once with our defaults; Chemprop trains three of the twelve, one after the
other, and their mean time is multiplied by twelve.

    python benchmarks/speed_accuracy.py --data DATA --chemprop-python CHEMPROP_ENV/bin/python --repeats 3
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from speed_common import children, has_chemprop, keep, parser, qm9, row, timed
from split_files import read_split_file

TWELVE = [
    "mu",
    "alpha",
    "homo",
    "lumo",
    "gap",
    "r2",
    "zpve",
    "cv",
    "u0_atom",
    "u298_atom",
    "h298_atom",
    "g298_atom",
]
THREE = ["gap", "mu", "u0_atom"]
SHORT = {"rate_peak": 2e-3, "batch_size": 32, "epochs": 30}


def rmse(Y: np.ndarray, Y_hat: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((np.asarray(Y, float) - np.asarray(Y_hat, float)) ** 2)))


def chemprop(python: str, frame: pd.DataFrame, tasks: list[str], seed: int, folder: Path) -> dict:
    """`chemprop train` with its defaults: its seconds, and the errors of its best checkpoint."""
    program = str(Path(python).with_name("chemprop"))
    data, out = folder / f"{seed}_{tasks[0]}.csv", folder / f"{seed}_{tasks[0]}"
    part = frame.loc[frame[tasks].notna().any(axis=1), ["smiles", "split", *tasks]]
    part.assign(split=part["split"].replace("valid", "val")).to_csv(data, index=False)
    command = [program, "train", "--data-path", data, "--output-dir", out, "--smiles-columns", "smiles"]
    command += ["--target-columns", *tasks, "--splits-column", "split", "--pytorch-seed", str(seed)]
    seconds, used = timed([*command, "--accelerator", "cpu"])
    command = [program, "predict", "--test-path", data, "--smiles-columns", "smiles", "--accelerator", "cpu"]
    command += ["--model-paths", out / "model_0" / "best.pt", "--output", out / "all.csv"]
    timed(command)
    Y_hat = pd.read_csv(out / "all.csv")[tasks].to_numpy()
    errors = {
        name: rmse(part[tasks][own], Y_hat[own])
        for name in ("valid", "test")
        if (own := part["split"] == name).any()
    }
    return errors | {"seconds": seconds, "processor": used}


def fit(path: str, seed: int, changes: dict, target: float | None) -> None:
    """Our side, in a process of its own: says when validation first was as good as the target, and the test errors."""
    from fusionbook import SingleTask, TrainConfig, read_molecules, split_molecules

    warnings.simplefilter("ignore")
    frame, tasks = read_split_file(Path(path))
    table = read_molecules(frame, tasks=tasks, on_error="raise")
    split = split_molecules(table, by="column", column="split")
    scale = np.nanstd(table.Y[split.train], axis=0)[0]
    reached = []

    def report(told):
        if not reached and told.valid_loss is not None and np.sqrt(told.valid_loss[0]) * scale <= target:
            reached.extend([told.step, time.process_time()])
            print("reached!", flush=True)

    config = TrainConfig(**changes)
    model = SingleTask(config, seed=seed, progress=False).fit(table, split, report=report if target else None)
    print("fitted", flush=True)
    Y_hat = model.predict(table.select(split.test)).to_numpy()
    errors = [rmse(table.Y[split.test, j], Y_hat[:, j]) for j in range(table.t)]
    print(json.dumps({"test": errors, "reached": reached}), flush=True)


def ours(frame: pd.DataFrame, seed: int, changes: dict, folder: Path, target: float | None = None) -> dict:
    """Start `fit` and listen: seconds until each thing it says."""
    path = folder / "ours.csv"
    frame.to_csv(path, index=False)
    before, start = children(), time.perf_counter()
    command = [
        sys.executable,
        __file__,
        "--fit",
        str(path),
        str(seed),
        json.dumps(changes),
        json.dumps(target),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    heard = {}
    for line in process.stdout:
        if line.startswith("{"):
            heard |= json.loads(line)
        else:
            heard[line.strip()] = time.perf_counter() - start
    if process.wait() != 0:
        raise SystemExit("our fit failed")
    return heard | {"processor": children() - before}


def split_table(data: Path, n: int, seed: int) -> pd.DataFrame:
    frame = qm9(data, n, seed)
    frame["split"] = np.repeat(["train", "valid", "test"], [n * 8 // 10, n // 10, n - n * 8 // 10 - n // 10])
    return frame


def time_to(options, folder: Path) -> list[dict]:
    found = {
        name: [] for name in ("ours", "peer", "ours cpu", "peer cpu", "whole cpu", "ours test", "peer test")
    }
    for seed in range(options.repeats):
        frame = split_table(options.data, options.molecules, seed)[["smiles", "split", "gap"]]
        peer = chemprop(options.chemprop_python, frame, ["gap"], seed, folder)
        own = ours(frame, seed, SHORT, folder, peer["valid"])
        print("time to", seed, peer, own, flush=True)
        if not own["reached"]:
            raise SystemExit("our training never came to Chemprop's validation error")
        measured = [own["reached!"], peer["seconds"], own["reached"][1], peer["processor"], own["processor"]]
        for name, value in zip(found, [*measured, own["test"][0], peer["test"]]):
            found[name].append(value)
    what = f"gap of {options.molecules:,} QM9 molecules, {options.threads} thread{'s' * (options.threads > 1)} each"
    name = f"time to Chemprop's validation error, {what}"
    rows = [
        row(f"{name}, wall", found["ours"], found["peer"], "s", False),
        row(f"{name}, processor", found["ours cpu"], found["peer cpu"], "s", False),
        row(
            f"time to the end of the training, {what}, processor",
            found["whole cpu"],
            found["peer cpu"],
            "s",
            False,
        ),
    ]
    for one in rows:
        one["test RMSE ours"], one["test RMSE peer"] = found["ours test"], found["peer test"]
    return rows


def twelve(options, folder: Path) -> list[dict]:
    frame = split_table(options.data, options.molecules, 0)[["smiles", "split", *TWELVE]]
    rng = np.random.default_rng(0)
    frame[TWELVE] = frame[TWELVE].where(rng.uniform(size=(len(frame), len(TWELVE))) < 0.2)
    peers = {task: chemprop(options.chemprop_python, frame, [task], 0, folder) for task in THREE}
    print("twelve", peers, flush=True)
    rows = []
    for name, changes in (
        ("Chemprop's length", {"batch_size": 64, "epochs": 50, "min_steps": 1}),
        ("our defaults", {}),
    ):
        own = ours(frame, 0, changes, folder)
        print("twelve", name, own, flush=True)
        title = f"twelve encoders, sparse QM9, {name}, Chemprop {options.threads} thread{'s' * (options.threads > 1)}, 3 of 12 runs"
        for kind, mine, key in (
            ("wall", own["fitted"], "seconds"),
            ("processor", own["processor"], "processor"),
        ):
            theirs = [12 * one[key] for one in peers.values()]
            one = row(f"{title}, {kind}", [mine] * 3, theirs, "s", False)
            one["peer"] = round(float(np.mean(theirs)), 1)
            one["ratio"] = round(one["peer"] / mine, 2)
            one["test RMSE ours"] = {task: own["test"][TWELVE.index(task)] for task in THREE}
            one["test RMSE peer"] = {task: peers[task]["test"] for task in THREE}
            rows.append(one)
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--fit"]:
        path, seed, changes, target = sys.argv[2:]
        return fit(path, int(seed), json.loads(changes), json.loads(target))
    options = parser(__doc__)
    options.add_argument("--molecules", type=int, default=4000)
    options.add_argument(
        "--threads", type=int, default=2, help="threads of Chemprop, and of our single network"
    )
    options.add_argument("--only", choices=["time", "twelve"])
    options = options.parse_args()
    if not has_chemprop(options):
        return None
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "twelve":
            keep(time_to(options, Path(folder)), options.out)
        if options.only != "time":
            keep(twelve(options, Path(folder)), options.out)
    return None


if __name__ == "__main__":
    main()

"""Wall-clock time to equal accuracy: one property, and twelve encoders of a sparse table, against `chemprop train`.

QM9 molecules; the same rows, split and architecture (d_h 300, depth 3, sum / 100); programs run one after the other, each as a
command of its own that has the whole machine, start-up included. Chemprop runs with its defaults (50 epochs, batch 64). Each
repeat has another seed: other molecules, another split, other weights.

"time to": gap of 2,000 molecules (80/10/10). Chemprop's time is that of `chemprop train`, up to the test predictions it
makes; its validation error is computed from its best checkpoint afterwards, outside the time. Ours is the time from the
start of Python until a validation round is at least as good; then the training goes on to its end, for the test error, and the time
to the end is a row of its own. Our network here: batch 32, 30 epochs, peak rate 2e-3 (our defaults plan 100 epochs, and so come
down later).

"twelve encoders": twelve properties, each with labels for 20 % of 4,000 molecules. Ours is `SingleTask().fit` of all twelve,
once with Chemprop's length (50 epochs, batch 64) and once with our defaults; Chemprop trains three of the twelve, one after the
other, and their time is multiplied by four.

    python benchmarks/speed_accuracy.py --data DATA --chemprop-python CHEMPROP_ENV/bin/python
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
THREE = {"gap": "gap (Ha)", "mu": "mu (D)", "u0_atom": "u0_atom (kcal/mol)"}
SHORT = {"rate_peak": 2e-3, "batch_size": 32, "epochs": 30}


def rmse(Y: np.ndarray, Y_hat: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((np.asarray(Y, float) - np.asarray(Y_hat, float)) ** 2)))


def chemprop(
    python: str, frame: pd.DataFrame, task: str, seed: int, folder: Path, valid: bool = False
) -> dict:
    """`chemprop train` with its defaults: its seconds, and the test error (and validation error) of its best checkpoint."""
    program = str(Path(python).with_name("chemprop"))
    folder = Path(tempfile.mkdtemp(dir=folder))
    data, out = folder / "data.csv", folder / "out"
    part = frame.loc[frame[task].notna(), ["smiles", "split", task]]
    part.assign(split=part["split"].replace("valid", "val")).to_csv(data, index=False)
    common = ["--smiles-columns", "smiles", "--accelerator", "cpu"]
    command = [program, "train", "--data-path", data, "--output-dir", out, "--target-columns", task, *common]
    seconds, used = timed([*command, "--splits-column", "split", "--pytorch-seed", str(seed)])
    test = part[part["split"] == "test"]
    Y_hat = pd.read_csv(out / "model_0" / "test_predictions.csv")
    if Y_hat["smiles"].tolist() != test["smiles"].tolist():
        raise SystemExit("Chemprop's test rows are not ours")
    found = {"seconds": seconds, "processor": used, "test": rmse(test[task], Y_hat[task])}
    if valid:
        rows = part[part["split"] == "valid"]
        rows.to_csv(data, index=False)
        command = [program, "predict", "--test-path", data, "--output", out / "valid.csv", *common]
        timed([*command, "--model-paths", out / "model_0" / "best.pt"])
        found["valid"] = rmse(rows[task], pd.read_csv(out / "valid.csv")[task])
    return found


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
    n, names = (
        options.single_molecules,
        ("reached", "reached cpu", "end", "peer", "peer cpu", "test", "peer test"),
    )
    found = {name: [] for name in names}
    for seed in range(options.repeats):
        frame = split_table(options.data, n, seed)[["smiles", "split", "gap"]]
        peer = chemprop(options.chemprop_python, frame, "gap", seed, folder, valid=True)
        own = ours(frame, seed, SHORT, folder, peer["valid"])
        print("time to", seed, peer, own, flush=True)
        if not own["reached"]:
            raise SystemExit("our training never came to Chemprop's validation error")
        values = [own["reached!"], own["reached"][1], own["fitted"], peer["seconds"], peer["processor"]]
        for values_of, value in zip(found.values(), [*values, own["test"][0], peer["test"]]):
            values_of.append(value)
    tests = {"test RMSE": {"gap (Ha)": {"ours": found["test"], "peer": found["peer test"]}}}
    what = f"gap of {n:,} QM9 molecules"
    name = f"time to Chemprop's validation error, {what}"
    rows = [
        row(f"{name}, wall", found["reached"], found["peer"], "s", False),
        row(f"{name}, processor", found["reached cpu"], found["peer cpu"], "s", False),
        row(f"time to the end of our training, {what}, wall", found["end"], found["peer"], "s", False),
    ]
    return [one | tests for one in rows]


def twelve(options, folder: Path) -> list[dict]:
    lengths = {"Chemprop's length": {"batch_size": 64, "epochs": 50, "min_steps": 1}, "our defaults": {}}
    mine, theirs = {name: [] for name in lengths}, []
    for seed in range(options.repeats):
        frame = split_table(options.data, options.molecules, seed)[["smiles", "split", *TWELVE]]
        rng = np.random.default_rng(seed)
        frame[TWELVE] = frame[TWELVE].where(rng.uniform(size=(len(frame), len(TWELVE))) < 0.2)
        theirs.append({task: chemprop(options.chemprop_python, frame, task, seed, folder) for task in THREE})
        print("twelve", theirs[-1], flush=True)
        for name, changes in lengths.items():
            mine[name].append(ours(frame, seed, changes, folder))
            print("twelve", name, mine[name][-1], flush=True)
    rows = []
    for name, runs in mine.items():
        tests = {
            THREE[task]: {
                "ours": [one["test"][TWELVE.index(task)] for one in runs],
                "peer": [one[task]["test"] for one in theirs],
            }
            for task in THREE
        }
        title = (
            f"twelve encoders, 20 % of {options.molecules:,} QM9 molecules, {name} (Chemprop: 3 of 12 runs)"
        )
        for kind, own_key, key in (("wall", "fitted", "seconds"), ("processor", "processor", "processor")):
            peer = [12 / len(THREE) * sum(one[key] for one in runs_of.values()) for runs_of in theirs]
            one = row(f"{title}, {kind}", [one[own_key] for one in runs], peer, "s", False)
            rows.append(one | {"test RMSE": tests})
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--fit"]:
        path, seed, changes, target = sys.argv[2:]
        return fit(path, int(seed), json.loads(changes), json.loads(target))
    options = parser(__doc__)
    options.add_argument("--molecules", type=int, default=4000)
    options.add_argument("--single-molecules", type=int, default=2000)
    options.add_argument("--only", choices=["time", "twelve"])
    options = options.parse_args()
    if not has_chemprop(options):
        return None
    os.environ.pop("OMP_NUM_THREADS", None)  # each program as its users have it
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "twelve":
            keep(time_to(options, Path(folder)), options.out)
        if options.only != "time":
            keep(twelve(options, Path(folder)), options.out)
    return None


if __name__ == "__main__":
    main()

"""Train Chemprop 2 with its defaults on a split file and write the test errors as JSON.

Runs in an environment that has Chemprop, by its own command line (`chemprop train`); nothing but the data, the split, the seed and,
if asked for, the number of epochs is set. The test rows are predicted with the checkpoint of the lowest validation loss, which is
what Chemprop does by itself.

    OMP_NUM_THREADS=1 cp/bin/python benchmarks/chemprop_baseline.py splits/esol_seed0.csv --out results

The split file is described in split_files.py: columns `smiles`, `split` and the tasks, empty cells unmeasured.
Several tasks make one multi-task model. One JSON file a run: results/<name of the split file>_chemprop<seed>.json.
A run whose JSON is there already is skipped, so an interrupted series can be started again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from split_files import SPLITS, read_split_file, scores, split_hash

CHEMPROP = "from chemprop.cli.main import main; main()"  # what the command `chemprop` does


def train(frame: pd.DataFrame, tasks: list[str], seed: int, log: Path, epochs: int | None = None) -> dict:
    """Train on the rows marked train and valid; returns test predictions (n_test, t) and how they were made."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.csv"
        out = Path(folder) / "out"
        frame.assign(split=frame["split"].replace("valid", "val")).to_csv(data, index=False)
        command = [sys.executable, "-c", CHEMPROP, "train", "--data-path", str(data)]
        command += ["--output-dir", str(out), "--smiles-columns", "smiles", "--target-columns", *tasks]
        command += ["--splits-column", "split", "--pytorch-seed", str(seed)]
        command += [] if epochs is None else ["--epochs", str(epochs)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        with log.open("w") as stream:
            done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT)
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            raise SystemExit(f"chemprop train ended with {done.returncode}; see {log}")

        predicted = pd.read_csv(out / "model_0" / "test_predictions.csv")
        test = frame[frame["split"] == "test"]
        if predicted["smiles"].tolist() != test["smiles"].tolist():
            raise SystemExit("Chemprop's test rows are not those of the split file")
        best = next((out / "model_0" / "checkpoints").glob("best-epoch=*"))
        return {
            "predictions": predicted[tasks].to_numpy(float),
            "best_epoch": int(re.search(r"epoch=(\d+)", best.name)[1]),
            "valid_loss": validation_curve(out / "model_0" / "trainer_logs"),
            "wall_seconds": seconds,
            "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "command": ["chemprop", *(part.replace(folder, "SCRATCH") for part in command[3:])],
        }


def validation_curve(logs: Path) -> list[list[float]]:
    """Pairs of steps done and validation loss (mean squared error in standard deviations, over labels), one an epoch."""
    path = logs / "version_0" / "metrics.csv"
    if not path.exists():
        raise SystemExit(
            f"{path} is not there: Chemprop writes it where tensorboard is not installed; uninstall that"
        )
    losses = pd.read_csv(path).dropna(subset="val_loss")
    return [[int(step) + 1, round(float(loss), 5)] for step, loss in zip(losses["step"], losses["val_loss"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", help="split files (CSV)")
    parser.add_argument(
        "--seed", type=int, help="PyTorch seed; default: the number after 'seed' in the file's name"
    )
    parser.add_argument("--epochs", type=int, help="default: Chemprop's")
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files and logs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    for path in args.files:
        in_name = re.search(r"seed(\d+)", path.stem)
        seed = args.seed if args.seed is not None else int(in_name[1]) if in_name else 0
        target = args.out / f"{path.stem}_chemprop{seed}.json"
        if target.exists():
            print(f"{target} exists; skipped", flush=True)
            continue
        frame, tasks = read_split_file(path)
        run = train(frame, tasks, seed, target.with_suffix(".log"), args.epochs)
        Y = frame.loc[frame["split"] == "test", tasks].to_numpy(float)
        result = {
            "model": "chemprop",
            "dataset": re.sub(r"_seed\d+$", "", path.stem),
            "file": path.name,
            "seed": seed,
            "split_hash": split_hash(frame),
            **{f"n_{name}": int((frame["split"] == name).sum()) for name in SPLITS},
            "test": scores(Y, run["predictions"], tasks),
            "best_epoch": run["best_epoch"],
            "valid_loss": run["valid_loss"],
            "wall_seconds": round(run["wall_seconds"], 1),
            "cpu_seconds": round(run["cpu_seconds"], 1),
            "threads": os.environ.get("OMP_NUM_THREADS", "default"),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("chemprop", "torch", "rdkit", "lightning", "numpy")},
            "command": run["command"],
            "test_predictions": np.round(run["predictions"], 6).tolist(),
        }
        # A rename is atomic: nobody finds half a result.
        part = target.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1) + "\n")
        part.replace(target)
        rmse = {task: round(score["rmse"], 4) for task, score in result["test"].items()}
        best = f"best state after epoch {run['best_epoch']}"  # counted from 0
        print(f"{path.stem} seed {seed}: RMSE {rmse}, {best}, {run['wall_seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()

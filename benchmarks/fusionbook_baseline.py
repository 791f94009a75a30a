"""Train fusionbook's SingleTask with its defaults on split files and write the test errors as JSON.

The twin of chemprop_baseline.py: same files, same rows, same seeds; nothing but the seed is set.

    python benchmarks/moleculenet_splits.py --data DIR --out splits
    python benchmarks/fusionbook_baseline.py splits/*.csv --out results
    CHEMPROP_ENV/bin/python benchmarks/chemprop_baseline.py splits/*.csv --out results
    python benchmarks/fusionbook_baseline.py --collect results
"""

import argparse
import json
import platform
import re
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from split_files import SPLITS, read_split_file, scores, split_hash

from fusionbook import SingleTask, read_molecules, split_molecules
from fusionbook.core import TrainingWarning

COLLECTED = Path(__file__).parent / "results" / "moleculenet.csv"


def train(path: Path, seed: int) -> dict:
    """Train on one split file; returns what is written as JSON."""
    frame, tasks = read_split_file(path)
    table = read_molecules(frame, tasks=tasks, on_error="raise")
    split = split_molecules(table, by="column", column="split")
    start = time.perf_counter()
    model = SingleTask(seed=seed).fit(table, split)
    seconds = time.perf_counter() - start
    Y_hat = model.predict(table.select(split.test)).to_numpy()
    history = model.networks_[0][0].history
    return {
        "model": "fusionbook",
        "dataset": re.sub(r"_seed\d+$", "", path.stem),
        "file": path.name,
        "seed": seed,
        "split_hash": split_hash(frame),
        **{f"n_{name}": int((frame["split"] == name).sum()) for name in SPLITS},
        "test": scores(table.Y[split.test], Y_hat, tasks),
        "best_step": int(history.best_step[0]),
        "steps": int(history.step[-1]),
        "wall_seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("fusionbook", "torch", "rdkit", "numpy")},
    }


def collect(folder: Path) -> pd.DataFrame:
    """One row a run of either program: data set, model, seed, split, errors, seconds."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text())
        names = ("dataset", "model", "seed", "split_hash", "n_train", "n_test")
        for task, score in run["test"].items():
            errors = {"task": task, **{name: round(score[name], 5) for name in ("rmse", "mae", "r2")}}
            versions = {
                name: run["versions"].get(name, "") for name in ("fusionbook", "chemprop", "torch", "rdkit")
            }
            about = {name: run[name] for name in names}
            rows.append(about | errors | versions | {"wall_seconds": run["wall_seconds"]})
    frame = pd.DataFrame(rows)
    if (frame.groupby(["dataset", "seed"])["split_hash"].nunique() > 1).any():
        raise SystemExit("the two programs were not run on the same splits")
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="*", help="split files (CSV)")
    parser.add_argument("--out", type=Path, help="folder for the JSON files")
    parser.add_argument(
        "--collect", type=Path, help="only write the runs of this folder as results/moleculenet.csv"
    )
    args = parser.parse_args()
    if args.collect:
        collect(args.collect).to_csv(COLLECTED, index=False)
        return
    if not args.files or args.out is None:
        parser.error("give split files and --out, or --collect")
    warnings.simplefilter("ignore", TrainingWarning)
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.files:
        in_name = re.search(r"seed(\d+)", path.stem)
        seed = int(in_name[1]) if in_name else 0
        target = args.out / f"{path.stem}_fusionbook{seed}.json"
        if target.exists():
            print(f"{target} exists; skipped", flush=True)
            continue
        result = train(path, seed)
        target.write_text(json.dumps(result, indent=1) + "\n")
        print(f"{path.stem} seed {seed}: {result['test']}, {result['wall_seconds']} s", flush=True)


if __name__ == "__main__":
    main()

"""Does fusion help, when, and by how much: every model, control and ablation on the same test rows, over seeds.

One call does one data set with one seed; it stores what it has done and goes on where it was stopped:

    python benchmarks/evidence.py bundled --seeds 0 1 2
    python benchmarks/evidence.py qm9 --data qm9_complete.csv.gz --seeds 0 1 2
    python benchmarks/evidence.py experimental --data sparse_experimental.csv.gz --seeds 0 1 2
    python benchmarks/evidence.py --summary

`bundled`: 3,000 molecules of the bundled table, 5 % to 50 % of a property's labels, random split, as in `make quickstart`;
the seed draws molecules, labels, split and weights. `qm9`: 4,000 molecules, 10 % of the labels of 12 targets, random split,
networks trained until nothing improves. `experimental`: 6,000 molecules that have a label besides the melting point, 16
properties, scaffold split. All networks of one data set may take the same number of steps. A call writes
benchmarks/results/evidence_<data>_<seed>.csv, one row a model and property; the summary writes evidence.md.
"""

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV

from fusionbook.app import QUICKSTART, hide_labels, spread_shares
from fusionbook.core import TrainingWarning, spawn_seeds
from fusionbook.datasets import load_xtb
from fusionbook.fusion import FusedMultiTask, MultiTask, SingleTask, UntrainedEncoders, encoders_to_fuse
from fusionbook.molecules import read_molecules, split_molecules
from fusionbook.training import TrainConfig

RESULTS = Path(__file__).parent / "results"
QM9 = "mu alpha homo lumo gap zpve r2 cv u0_atom u298_atom h298_atom g298_atom".split()
LONG = dict(epochs=400, min_steps=3000, max_steps=40_000)
ADDITIVE = {"alpha", "zpve", "r2", "cv", "polarisability", *(name for name in QM9 if name.endswith("_atom"))}


def cut(table, n, seed):
    """A seeded sample of n molecules, in the table's order."""
    return table.select(np.sort(np.random.default_rng(seed).permutation(table.n)[:n]))


def bundled(path, seed):
    drawn = cut(load_xtb(), QUICKSTART["max_molecules"], seed)
    shares = spread_shares(drawn.t, QUICKSTART["keep"], spawn_seeds(seed, 1)[0])
    fractions = QUICKSTART["fractions"]
    return hide_labels(
        drawn, shares, seed=seed, split=lambda thin: split_molecules(thin, fractions=fractions, seed=seed)
    )


def qm9(path, seed):
    drawn = cut(read_molecules(path, tasks=QM9), 4000, seed)
    return hide_labels(drawn, 0.1, seed=seed, split=lambda thin: split_molecules(thin, seed=seed))


def experimental(path, seed):
    frame = pd.read_csv(path)
    tasks = [name for name in frame.columns if name not in ("smiles", "n_properties")]
    others = [name for name in tasks if name != "mp_K"]
    frame = frame[frame[others].notna().any(axis=1)].reset_index(drop=True)
    table = cut(read_molecules(frame, tasks=tasks), 6000, seed)
    return table, split_molecules(table, by="scaffold", seed=seed)


DATA = {"bundled": (bundled, {}), "qm9": (qm9, LONG), "experimental": (experimental, {})}


def morgan_counts(smiles):
    """Counts of Morgan environments of radius 2, folded to 2,048 columns."""
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    return np.array(
        [make.GetCountFingerprintAsNumPy(Chem.MolFromSmiles(text)) for text in smiles], dtype=float
    )


def composition(smiles):
    """Counts of the elements, implicit hydrogens included."""
    rows = []
    for text in smiles:
        mol = Chem.AddHs(Chem.MolFromSmiles(text))
        rows.append(pd.Series([atom.GetSymbol() for atom in mol.GetAtoms()]).value_counts())
    return pd.DataFrame(rows).fillna(0.0).to_numpy()


def per_task(X, table, split, make):
    """Fit one scikit-learn model a task on training and validation rows; predict the test rows."""
    known = np.concatenate([split.train, split.valid])
    out = np.empty((len(split.test), table.t))
    for j in range(table.t):
        rows = known[table.mask[known, j]]
        out[:, j] = make().fit(X[rows], table.Y[rows, j]).predict(X[split.test])
    return out


def ridge():
    return RidgeCV(alphas=np.logspace(-4, 4, 17))


class Log:
    """One row a model and task; what is stored is not done again."""

    def __init__(self, data, seed, table, split):
        self.path = RESULTS / f"evidence_{data}_{seed}.csv"
        self.about = dict(data=data, seed=seed)
        self.table, self.split = table, split
        self.rows = pd.read_csv(self.path).to_dict("records") if self.path.exists() else []

    def has(self, model):
        return any(row["model"] == model for row in self.rows)

    def add(self, model, Y_hat, started):
        table, split = self.table, self.split
        sd = np.nanstd(table.Y[split.train], axis=0)
        error = np.nanmean(np.abs(Y_hat - table.Y[split.test]), axis=0) / sd
        counts = dict(n_train=table.mask[split.train].sum(axis=0), n_test=table.mask[split.test].sum(axis=0))
        seconds = round(time.perf_counter() - started, 1)
        for j, task in enumerate(table.task_names):
            row = self.about | dict(model=model, task=task, error=round(float(error[j]), 5))
            self.rows.append(
                row | {name: int(value[j]) for name, value in counts.items()} | dict(seconds=seconds)
            )
        pd.DataFrame(self.rows).to_csv(self.path, index=False)
        print(
            f"{self.about['data']} {self.about['seed']}  {model:44s} {error.mean():.4f}  {seconds:.0f} s",
            flush=True,
        )


def variants(single, multi, untrained, options):
    """Everything that is fused from the same frozen encoders: the default, what it consists of, and controls."""
    three = encoders_to_fuse(single, multi)
    few = three[2:]
    return {
        "F-MT": lambda: FusedMultiTask(three, **options),
        "F-MT without MT": lambda: FusedMultiTask([single, *few], **options),
        "F-MT without untrained": lambda: FusedMultiTask([single, multi], **options),
        "F-MT, ST only": lambda: FusedMultiTask(single, **options),
        "F-MT, 300 CUR columns": lambda: FusedMultiTask(three, reduce="cur", **options),
        "F-MT, all columns": lambda: FusedMultiTask(three, reduce=None, **options),
        "F-MT, ridge head": lambda: FusedMultiTask(three, head="ridge", **options),
        "source's F-MT: ST, network head, 300 CUR columns": lambda: FusedMultiTask(
            single, head="mlp", scaling="column", reduce="cur", **options
        ),
        "control: untrained encoders": lambda: FusedMultiTask([untrained, *few], **options),
        "control: untrained encoders, ridge": lambda: FusedMultiTask(untrained, head="ridge", **options),
        "control: MT embedding": lambda: FusedMultiTask([multi, *few], **options),
        "control: MT embedding, ridge": lambda: FusedMultiTask(multi, head="ridge", **options),
    }


def run(data, path, seed):
    """Fit and score everything on one data set with one seed."""
    read, changes = DATA[data]
    table, split = read(path, seed)
    log = Log(data, seed, table, split)
    tested = table.select(split.test)
    print(f"{table!r}\n{split!r}", flush=True)
    if not log.has("mean"):
        mean = np.nanmean(table.Y[split.train], axis=0)
        log.add("mean", np.tile(mean, (len(split.test), 1)), time.perf_counter())
    for name, X, make in (
        ("control: composition, ridge", composition, ridge),
        ("control: Morgan counts, ridge", morgan_counts, ridge),
        (
            "control: Morgan counts, random forest",
            morgan_counts,
            lambda: RandomForestRegressor(max_features=0.3, random_state=seed),
        ),
    ):
        if not log.has(name):
            started = time.perf_counter()
            log.add(name, per_task(X(table.smiles), table, split, make), started)
    fitted = {}
    for name, kind in (("ST", SingleTask), ("MT", MultiTask)):
        started = time.perf_counter()
        config = replace(kind.default_config, **changes)
        fitted[name] = kind(config, seed=seed).fit(table, split)
        if not log.has(name):
            log.add(name, fitted[name].predict(tested).to_numpy(), started)
    untrained = UntrainedEncoders(config=TrainConfig(), seed=seed)
    for name, make in variants(fitted["ST"], fitted["MT"], untrained, dict(seed=seed)).items():
        if not log.has(name):
            started = time.perf_counter()
            log.add(name, make().fit(table, split).predict(tested).to_numpy(), started)


def interval(values):
    """Mean and spread over seeds as text."""
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def table_of(frame):
    """Markdown: error, error / MT, wins against ST and MT and mean rank of every model on one data set."""
    wide = frame.pivot_table(index=["seed", "task"], columns="model", values="error", sort=False)
    ranks = wide.rank(axis=1).mean()
    additive = wide.index.get_level_values("task").isin(list(ADDITIVE))
    lines = [
        "| model | error | / MT | better than ST | better than MT | mean rank | additive | other |",
        "|---" * 8 + "|",
    ]
    n = len(wide)
    for model, column in wide.items():
        seeds = column.groupby("seed").mean()
        ratio = seeds / wide["MT"].groupby("seed").mean()
        wins = [int((column < wide[other]).sum()) for other in ("ST", "MT")]
        parts = [f"{column[part].mean():.3f}" if part.any() else "-" for part in (additive, ~additive)]
        cells = [
            interval(seeds),
            interval(ratio),
            *(f"{win} of {n}" for win in wins),
            f"{ranks[model]:.1f}",
            *parts,
        ]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return lines


def summary():
    """All stored results as Markdown."""
    lines = [
        "# Every model on the same test rows",
        "",
        "Written by `python benchmarks/evidence.py --summary` from `evidence_*.csv`. Error: mean over the properties of "
        "MAE / standard deviation of the training labels, on test rows; ± is the standard deviation over seeds, each "
        "with its own molecules, labels, split and weights. Wins and ranks count pairs of seed and property. "
        "Additive: properties that grow with the number of atoms.",
    ]
    for data in DATA:
        paths = sorted(RESULTS.glob(f"evidence_{data}_*.csv"))
        if paths:
            frame = pd.concat([pd.read_csv(path) for path in paths])
            seeds = ", ".join(str(seed) for seed in sorted(frame["seed"].unique()))
            lines += ["", f"## {data} (seeds {seeds})", "", *table_of(frame)]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=sorted(DATA), help="which data set")
    parser.add_argument("--data", help="file of the qm9 or experimental table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--summary", action="store_true", help="write evidence.md from the stored results")
    args = parser.parse_args()
    if args.summary:
        (RESULTS / "evidence.md").write_text(summary())
        print(summary())
        return
    if args.name is None or (args.name != "bundled" and args.data is None):
        parser.error("give a data set (with --data, except for bundled), or --summary")
    warnings.simplefilter("ignore", TrainingWarning)
    for seed in args.seeds:
        run(args.name, args.data, seed)


if __name__ == "__main__":
    main()

"""Compare linear and network heads, scalings, reductions and out-of-fold embeddings on rows that nothing else uses.

A sample of the bundled table is split by molecule into train (70 %), valid (10 %), study (10 %) and test (10 %), and
labels are hidden. Everything is trained on train and stopped or penalised on valid; the numbers are errors on *study*
rows against all their labels, hidden ones included. The test rows are not touched. One call does one label rate:

    python benchmarks/defaults_study.py --rate 0.05
    python benchmarks/defaults_study.py --rate 0.2
    python benchmarks/defaults_study.py --rate 1 --molecules 700
    python benchmarks/defaults_study.py --summary

A call writes benchmarks/results/defaults_<rate>.csv, one row a variant and task; the last one writes defaults.md, the
means over tasks. --no-fold leaves out the out-of-fold encoders, which take two more trainings a task.
"""

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fusionbook.core import TrainingWarning
from fusionbook.datasets import load_xtb
from fusionbook.embeddings import EmbeddingBlocks, join_blocks
from fusionbook.fusion import (
    HEAD_CONFIG,
    MultiTask,
    SingleTask,
    UntrainedEncoders,
    fit_fused_head,
    out_of_fold_blocks,
)
from fusionbook.molecules import Split, sparsify, split_molecules

RESULTS = Path(__file__).parent / "results"
BASE = dict(scaling="column", reduce=None, n_components=None, head="ridge", head_config=None, n_heads=1)
HEADS = {
    "F-MT ridge, columns (base)": {},
    "F-MT ridge, block scaling": dict(scaling="block"),
    "F-MT ridge, no scaling": dict(scaling="none"),
    "F-MT ridge, PCA 99 %": dict(reduce="pca", n_components=0.99),
    "F-MT ridge, PCA 99.9 %": dict(reduce="pca", n_components=0.999),
    "F-MT ridge, CUR 100 columns": dict(reduce="cur", n_components=100),
    "F-MT ridge, CUR 300 columns": dict(reduce="cur", n_components=300),
    "F-MT ridge, CUR 1000 columns": dict(reduce="cur", n_components=1000),
    "F-MT network, weight decay 0": dict(head="mlp", head_config=replace(HEAD_CONFIG, weight_decay=0.0)),
    "F-MT network, weight decay 1": dict(head="mlp", head_config=replace(HEAD_CONFIG, weight_decay=1.0)),
    "F-MT network, weight decay 1, dropout 0.2": dict(
        head="mlp", head_config=replace(HEAD_CONFIG, weight_decay=1.0, dropout=0.2)
    ),
    "F-MT network, weight decay 1, block scaling": dict(
        head="mlp", scaling="block", head_config=replace(HEAD_CONFIG, weight_decay=1.0)
    ),
    "F-MT network, weight decay 1, CUR 300": dict(
        head="mlp", reduce="cur", n_components=300, head_config=replace(HEAD_CONFIG, weight_decay=1.0)
    ),
    "F-MT network, weight decay 1, CUR 300, three heads": dict(
        head="mlp", reduce="cur", n_components=300, n_heads=3
    ),
    "F-MT network, weight decay 1, three heads": dict(head="mlp", n_heads=3),
}


def cut(table, n, seed):
    """Keep a seeded sample of n molecules."""
    rows = np.sort(np.random.default_rng(seed).permutation(table.n)[:n])
    return table.select(rows)


def split_off_study(table, seed):
    """Split into train 70 %, valid 10 %, study 10 %, test 10 %; the study part is cut from the training part."""
    split = split_molecules(table, fractions=(0.8, 0.1, 0.1), seed=seed)
    rows = np.random.default_rng(seed).permutation(split.train)
    n_study = len(split.test)
    return Split(np.sort(rows[n_study:]), split.valid, split.test), np.sort(rows[:n_study])


class Log:
    """Score against all labels of the study rows; write one row a task after every variant."""

    def __init__(self, full, study, path, about):
        self.path = path
        self.about = about
        self.Y = full.Y[study]
        self.sd = full.Y.std(axis=0)
        self.tasks = full.task_names
        self.rows = []

    def add(self, rate, seed, variant, Y_hat, started):
        error = np.abs(Y_hat - self.Y).mean(axis=0) / self.sd
        seconds = time.perf_counter() - started
        for task, value in zip(self.tasks, error):
            row = dict(rate=rate, seed=seed, variant=variant, task=task, error=value, seconds=seconds)
            self.rows.append(row | self.about)
        self.path.parent.mkdir(exist_ok=True)
        pd.DataFrame(self.rows).round(5).to_csv(self.path, index=False)
        print(f"rate {rate:g} seed {seed}  {variant:62s} {error.mean():.4f}  ({seconds:.0f} s)", flush=True)


def fused(log, rate, seed, variant, blocks, table, split, study, options=None, training_blocks=None):
    """Fit one head on given blocks and log its study error."""
    started = time.perf_counter()
    options = BASE | (options or {})
    head = fit_fused_head(blocks, table, split, options, seed, training_blocks)
    log.add(rate, seed, variant, head.predict(blocks.take(study)), started)


def one_rate(log, full, split, study, rate, seed, no_fold):
    """Train the encoders of one label rate, then try every head on them."""
    table = full if rate == 1 else sparsify(full, rate, seed=seed)
    studied = full.select(study)
    log.add(
        rate,
        seed,
        "mean",
        np.tile(np.nanmean(table.Y[split.train], axis=0), (len(study), 1)),
        time.perf_counter(),
    )
    started = time.perf_counter()
    single = SingleTask(seed=seed).fit(table, split)
    log.add(rate, seed, "ST", single.predict(studied).to_numpy(), started)
    started = time.perf_counter()
    multi = MultiTask(seed=seed).fit(table, split)
    log.add(rate, seed, "MT", multi.predict(studied).to_numpy(), started)
    untrained = UntrainedEncoders(seed=seed).fit(table, split)
    blocks = {"ST": single.embed(table), "MT": multi.embed(table), "untrained": untrained.embed(table)}
    combinations = {
        "control: untrained encoders, ridge": ["untrained"],
        "control: MT embedding, ridge": ["MT"],
        "ST + untrained blocks, ridge": ["ST", "untrained"],
        "ST + MT blocks, ridge": ["ST", "MT"],
        "ST + MT + untrained blocks, ridge": ["ST", "MT", "untrained"],
    }
    for variant, names in combinations.items():
        fused(log, rate, seed, variant, join_blocks(*[blocks[name] for name in names]), table, split, study)
    for variant, options in HEADS.items():
        fused(log, rate, seed, variant, blocks["ST"], table, split, study, options)
    hidden = single.embed(table, layer="head")
    fused(log, rate, seed, "F-MT ridge, head's hidden layer", hidden, table, split, study)
    if no_fold:
        return
    started = time.perf_counter()
    clean = EmbeddingBlocks(
        out_of_fold_blocks(single, blocks["ST"].blocks, table, split, folds=2), table.smiles
    )
    print(f"  out-of-fold encoders: {time.perf_counter() - started:.0f} s", flush=True)
    for variant in ("F-MT ridge, columns (base)", "F-MT network, weight decay 1"):
        name = variant.replace(" (base)", "") + ", out of fold"
        fused(log, rate, seed, name, blocks["ST"], table, split, study, HEADS[variant], clean)


def summary():
    """Means over tasks, one row a variant, one column a rate, as Markdown."""
    paths = sorted(RESULTS.glob("defaults_*.csv"), key=lambda path: float(path.stem.split("_")[1]))
    frame = pd.concat([pd.read_csv(path) for path in paths])
    wide = frame.groupby(["variant", "rate"], sort=False)["error"].mean().unstack("rate")
    about = frame.groupby("rate")[["molecules", "n_train", "n_study"]].first()
    lines = [
        "Mean over 12 properties of MAE / standard deviation on study rows; seed 0. Lower is better.",
        "",
    ]
    lines.append("| labels kept | " + " | ".join(f"{rate:.0%}" for rate in wide.columns) + " |")
    lines.append("|---" * (len(wide.columns) + 1) + "|")
    for name, text in (("n_train", "training molecules"), ("n_study", "study molecules")):
        lines.append(f"| {text} | " + " | ".join(str(about[name][rate]) for rate in wide.columns) + " |")
    for variant, row in wide.iterrows():
        lines.append(f"| {variant} | " + " | ".join("-" if np.isnan(x) else f"{x:.3f}" for x in row) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, help="share of the labels that is kept")
    parser.add_argument("--molecules", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-fold", action="store_true", help="leave out the out-of-fold encoders")
    parser.add_argument("--summary", action="store_true", help="write defaults.md from the stored results")
    args = parser.parse_args()
    if args.summary:
        (RESULTS / "defaults.md").write_text(summary())
        print(summary())
        return
    if args.rate is None:
        parser.error("give --rate or --summary")
    warnings.simplefilter("ignore", TrainingWarning)
    full = cut(load_xtb(), args.molecules, args.seed)
    split, study = split_off_study(full, args.seed)
    about = dict(molecules=args.molecules, n_train=len(split.train), n_study=len(study))
    log = Log(full, study, RESULTS / f"defaults_{args.rate:g}.csv", about)
    one_rate(log, full, split, study, args.rate, args.seed, args.no_fold)


if __name__ == "__main__":
    main()

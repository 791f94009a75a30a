"""Choose the defaults of FusedMultiTask on rows that nothing else uses.

The bundled table is cut to --molecules rows and split by molecule into train (70 %), valid (10 %), study (10 %) and
test (10 %). Labels are hidden at each of --rates. Everything is trained on train and stopped or penalised on valid; the
numbers below are errors on *study* rows against all their labels, hidden ones included. The test rows are not touched.

    python benchmarks/defaults_study.py                       # the whole study, about half an hour on 2 cores
    python benchmarks/defaults_study.py --rates 0.2 --quick   # one rate, without out-of-fold encoders

Writes benchmarks/results/defaults.csv (one row a rate, seed, variant and task) and defaults.md (means over tasks).
"""

import argparse
import json
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
from fusionbook.training import TrainConfig

RESULTS = Path(__file__).parent / "results"
BASE = dict(scaling="column", reduce=None, n_components=None, head="ridge", head_config=None)
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
    """Collect one row a task; score against all labels of the study rows."""

    def __init__(self, full, study):
        self.Y = full.Y[study]
        self.sd = full.Y.std(axis=0)
        self.tasks = full.task_names
        self.rows = []

    def add(self, rate, seed, variant, Y_hat, started):
        error = np.abs(Y_hat - self.Y).mean(axis=0) / self.sd
        seconds = time.perf_counter() - started
        for task, value in zip(self.tasks, error):
            row = dict(rate=rate, seed=seed, variant=variant, task=task, error=value, seconds=seconds)
            self.rows.append(row)
        print(f"rate {rate:g} seed {seed}  {variant:45s} {error.mean():.4f}  ({seconds:.0f} s)", flush=True)


def fused(log, rate, seed, variant, blocks, table, split, study, options=None, training_blocks=None):
    """Fit one head on given blocks and log its study error."""
    started = time.perf_counter()
    options = BASE | (options or {})
    head = fit_fused_head(blocks, table, split, options, seed, training_blocks)
    log.add(rate, seed, variant, head.predict(blocks.take(study)), started)


def one_rate(log, full, split, study, rate, seed, quick, config):
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
    single = SingleTask(config, seed=seed).fit(table, split)
    log.add(rate, seed, "ST", single.predict(studied).to_numpy(), started)
    started = time.perf_counter()
    multi = MultiTask(config, seed=seed).fit(table, split)
    log.add(rate, seed, "MT", multi.predict(studied).to_numpy(), started)
    untrained = UntrainedEncoders(config=config, seed=seed).fit(table, split)
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
    if quick:
        return
    started = time.perf_counter()
    clean = EmbeddingBlocks(
        out_of_fold_blocks(single, blocks["ST"].blocks, table, split, folds=2), table.smiles
    )
    print(f"  out-of-fold encoders: {time.perf_counter() - started:.0f} s", flush=True)
    for variant in ("F-MT ridge, columns (base)", "F-MT network, weight decay 1"):
        name = variant.replace(" (base)", "") + ", out of fold"
        fused(log, rate, seed, name, blocks["ST"], table, split, study, HEADS[variant], clean)


def summary(frame):
    """Means over tasks and seeds, one row a variant, one column a rate, as Markdown."""
    wide = frame.groupby(["variant", "rate"], sort=False)["error"].mean().unstack("rate")
    lines = ["| variant | " + " | ".join(f"{rate:.0%}" for rate in wide.columns) + " |"]
    lines.append("|---" * (len(wide.columns) + 1) + "|")
    for variant, row in wide.iterrows():
        lines.append(f"| {variant} | " + " | ".join("-" if np.isnan(x) else f"{x:.4f}" for x in row) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--molecules", type=int, default=2600)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.2, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--quick", action="store_true", help="leave out the out-of-fold encoders")
    parser.add_argument(
        "--config", default="{}", help="JSON of TrainConfig fields that differ from the defaults"
    )
    parser.add_argument("--name", default="defaults", help="name of the result files")
    args = parser.parse_args()
    warnings.simplefilter("ignore", TrainingWarning)
    config = TrainConfig(**json.loads(args.config))
    frames = []
    started = time.perf_counter()
    for seed in args.seeds:
        full = cut(load_xtb(), args.molecules, seed)
        split, study = split_off_study(full, seed)
        log = Log(full, study)
        for rate in args.rates:
            one_rate(log, full, split, study, rate, seed, args.quick, config)
            frames.append(pd.DataFrame(log.rows))
            log.rows = []
            RESULTS.mkdir(exist_ok=True)
            frame = pd.concat(frames)
            frame.round(5).to_csv(RESULTS / f"{args.name}.csv", index=False)
    about = (
        f"Mean over {full.t} tasks of MAE / standard deviation on {len(study)} study rows; {args.molecules} molecules, "
        f"{len(split.train)} of them for training; seeds {args.seeds}; {time.perf_counter() - started:.0f} s.\n\n"
    )
    (RESULTS / f"{args.name}.md").write_text(about + summary(frame) + "\n")
    print(summary(frame))


if __name__ == "__main__":
    main()

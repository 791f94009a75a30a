"""Does fusion help, when, and by how much: every model, control and ablation on the same test rows, over seeds.

One call does one data set, seed by seed; it stores what it has done and goes on where it was stopped. All of it (FILE: the table's,
PYTHON: of an environment with Chemprop 2.3.1, where the table has rows of Chemprop):

    python benchmarks/evidence.py bundled --chemprop-python PYTHON
    python benchmarks/evidence.py bundled --seeds 0 --controls --extend
    python benchmarks/evidence.py qm9 --data FILE --chemprop-python PYTHON
    python benchmarks/evidence.py rate2 --data FILE          # and rate5, rate30, uneven, complete
    python benchmarks/evidence.py experimental --data FILE --chemprop-python PYTHON      # and experimental_random, development
    python benchmarks/evidence.py melting --data FILE        # and computed
    python benchmarks/evidence.py --summary

`make evidence` does them all. To see whether stored results come out again, store anew in an empty folder and compare:

    python benchmarks/evidence.py bundled --seeds 0 --results again
    python benchmarks/evidence.py --compare again

Digits come out again on processors of one kind; on another one, compare the mean errors, which `--compare` prints too.

`bundled`: 3,000 molecules of the bundled table, 5 % to 50 % of a property's labels, random split, as in `make quickstart`.
`qm9`: 4,000 molecules, 10 % of the labels of 12 targets (atomisation energies), random split, networks trained for up
to 400 epochs; `rate2`, `rate5` and `rate30`: the same with 2, 5 and 30 % of them; `uneven`: with 2 % to 50 % of a property's. `complete`: 18,000 molecules with all labels.
`experimental`: 6,000 molecules that have a label besides the melting point, 16 properties, scaffold split; seeds that leave a
property fewer than two validation labels are refused, so the first five are 0 2 3 4 9. `experimental_random`: the same molecules,
random split; `melting`: with 6,000 more training molecules of which only the melting point is known; `computed`: with twelve properties
computed by GFN2-xTB (needs `tblite`) as further tasks, of the 3,000 smallest of the training and validation molecules. `development`: 7,000 molecules
that none of those five seeds tests on, scaffold split, a fifth of them for testing, to try things out on. The seed draws molecules,
labels, split and weights. All networks of one data set are configured alike; none was tuned to it. Chemprop has its defaults, but as many passes
over the training rows as it needs. `bundled` and `qm9` also leave parts of F-MT out one at a time.

`--models FOLDER` keeps the trained networks, so that a changed head costs no new training. `--controls` adds what needs more
trainings or many heads, `--extend` adds each property in turn to a model of the others. `--parts` does a part of it: what needs no
network, Chemprop's models, or our networks and what is made of them. Results: evidence_<data>_<seed>.csv, a row a model and property;
curves_<data>_<seed>.csv, the validation curves; extend_<data>_<seed>.csv. The summary writes evidence.md.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from evidence_summary import RESULTS, write_summary
from rdkit import Chem
from rdkit.Chem import Fragments, rdFingerprintGenerator
from scipy import stats
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from fusionbook.app import QUICKSTART, hide_labels, spread_shares
from fusionbook.core import TrainingWarning, spawn_seeds
from fusionbook.datasets import load_xtb
from fusionbook.fusion import (
    FusedMultiTask,
    MultiTask,
    SingleTask,
    UntrainedEncoders,
    encoders_to_fuse,
    load_model,
)
from fusionbook.molecules import MoleculeTable, Task, murcko_scaffold, read_molecules, split_molecules
from fusionbook.training import TrainConfig
from fusionbook.xtb import compute_xtb

QM9 = "mu alpha homo lumo gap zpve r2 cv u0_atom u298_atom h298_atom g298_atom".split()
LONG = dict(epochs=400, min_steps=3000, max_steps=40_000)
TESTED = (0, 2, 3, 4, 9)  # seeds of `experimental`: the first that leave every property two validation labels
EVERYWHERE = [  # fused models that the aims and `--extend` compare
    "F-MT",
    "F-MT, 300 CUR columns",
    "F-MT, all columns",
    "F-MT, ST only",
    "F-MT without MT",
    "control: untrained encoders, ridge",
    "control: MT embedding, ridge",
]
GROUPS = [getattr(Fragments, name) for name in sorted(dir(Fragments)) if name.startswith("fr_")]


# Data


def draw(table, n, seed):
    """Positions of a seeded sample of n molecules, in the table's order."""
    return np.sort(np.random.default_rng(seed).permutation(table.n)[:n])


def cut(table, n, seed):
    """A seeded sample of n molecules, in the table's order."""
    return table.select(draw(table, n, seed))


def bundled(path, seed):
    drawn = cut(load_xtb(), QUICKSTART["max_molecules"], seed)
    shares = spread_shares(drawn.t, QUICKSTART["keep"], spawn_seeds(seed, 1)[0])
    fractions = QUICKSTART["fractions"]
    return hide_labels(
        drawn, shares, seed=seed, split=lambda thin: split_molecules(thin, fractions=fractions, seed=seed)
    )


def qm9(path, seed, share=0.1):
    """`share`: of the labels of every property, or the smallest and the largest, dealt out to the properties by the seed."""
    drawn = cut(read_molecules(path, tasks=QM9), 4000, seed)
    if isinstance(share, tuple):
        share = spread_shares(drawn.t, share, spawn_seeds(seed, 1)[0])
    return hide_labels(drawn, share, seed=seed, split=lambda thin: split_molecules(thin, seed=seed))


def complete(path, seed):
    drawn = cut(read_molecules(path, tasks=QM9), 18_000, seed)
    return drawn, split_molecules(drawn, seed=seed)


def measured(path, melting=False):
    """Molecules that have a measured property besides the melting point, or (`melting`) 9,000 that have that one only."""
    frame = pd.read_csv(path)
    tasks = [name for name in frame.columns if name not in ("smiles", "inchikey", "n_properties")]
    more = frame[[name for name in tasks if name != "mp_K"]].notna().any(axis=1)
    frame = frame[~more].sample(9000, random_state=0) if melting else frame[more]
    return read_molecules(frame.reset_index(drop=True), tasks=tasks)


def experimental(path, seed, by="scaffold"):
    table = cut(measured(path), 6000, seed)
    return table, split_molecules(table, by=by, seed=seed)


def melting(path, seed):
    """`experimental` with 6,000 more training molecules, of which only the melting point is known; no scaffold of them is tested."""
    table, split = experimental(path, seed)
    asked = {murcko_scaffold(table.smiles[i]) for i in np.concatenate([split.valid, split.test])}
    only = measured(path, melting=True)
    order = np.random.default_rng(seed).permutation(only.n)
    more = only.select([i for i in order if murcko_scaffold(only.smiles[i]) not in asked][:6000])
    both = MoleculeTable(table.smiles + more.smiles, np.vstack([table.Y, more.Y]), table.tasks)
    return both, replace(split, train=np.concatenate([split.train, np.arange(table.n, both.n)]))


def computed(path, seed):
    """`experimental` with twelve more properties, computed, of the 3,000 smallest training and validation molecules."""
    table, split = experimental(path, seed)
    known = np.concatenate([split.train, split.valid])
    n_atoms = [Chem.AddHs(Chem.MolFromSmiles(table.smiles[i])).GetNumAtoms() for i in known]
    rows = known[np.argsort(n_atoms, kind="stable")[:3000]]
    frame = compute_xtb([table.smiles[i] for i in rows])
    print(f"GFN2-xTB: {(frame.pop('problem') != '').sum()} of {len(rows)} molecules failed", flush=True)
    Y = np.full((table.n, frame.shape[1]), np.nan)
    Y[rows] = frame
    names = [name.partition(" (") for name in frame.columns]
    more = tuple(Task(f"xtb {name}", unit.rstrip(")")) for name, _, unit in names)
    return MoleculeTable(table.smiles, np.hstack([table.Y, Y]), table.tasks + more), split


def development(path, seed):
    """Molecules that no seed of `experimental` tests on, 7,000 of them; a fifth is for testing."""
    everything = measured(path)
    free = np.ones(everything.n, dtype=bool)
    for one in TESTED:
        rows = draw(everything, 6000, one)
        free[rows[split_molecules(everything.select(rows), by="scaffold", seed=one).test]] = False
    table = cut(everything.select(np.flatnonzero(free)), 7000, seed)
    return table, split_molecules(table, by="scaffold", fractions=(0.7, 0.1, 0.2), seed=seed)


@dataclass(frozen=True)
class Study:
    """A data set: how its table and split are made, what differs in the training, its seeds, and whether parts are left out.

    `passes`: of Chemprop over the training rows, so many that more of them would not help it (page, "How it was measured"). `chemprop_st`:
    the seeds on which it trains one model a property too, which takes it longer than all the rest.
    """

    read: Callable
    changes: dict = field(default_factory=dict)
    seeds: tuple = (0,)
    ablations: bool = False
    passes: int = 100
    chemprop_st: tuple = ()


DATA = {
    "bundled": Study(bundled, seeds=(0, 1, 2, 3, 4), ablations=True, passes=400),
    "qm9": Study(qm9, LONG, seeds=(0, 1, 2, 3, 4), ablations=True, passes=400, chemprop_st=(0, 1, 2)),
    "rate2": Study(partial(qm9, share=0.02), LONG),
    "rate5": Study(partial(qm9, share=0.05), LONG),
    "rate30": Study(partial(qm9, share=0.3), LONG),
    "uneven": Study(partial(qm9, share=(0.02, 0.5)), LONG),
    "complete": Study(complete),
    "experimental": Study(experimental, seeds=TESTED, chemprop_st=(0,)),
    "experimental_random": Study(partial(experimental, by="random")),
    "melting": Study(melting),
    "computed": Study(computed),
    "development": Study(development, seeds=(104,)),
}


# Models that need no network


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


def composition_and_groups(smiles):
    """Counts of the elements and of RDKit's functional groups."""
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    return np.hstack([composition(smiles), [[count(mol) for count in GROUPS] for mol in mols]])


def tested(table, split):
    """Numbers of the properties that have a label in the test part."""
    return np.flatnonzero(table.mask[split.test].any(axis=0))


def per_task(X, table, split, make):
    """Fit one scikit-learn model a task on training and validation rows; predict the test rows."""
    known = np.concatenate([split.train, split.valid])
    out = np.full((len(split.test), table.t), np.nan)
    for j in tested(table, split):
        rows = known[table.mask[known, j]]
        out[:, j] = make().fit(X[rows], table.Y[rows, j]).predict(X[split.test])
    return out


def ridge():
    return RidgeCV(alphas=np.logspace(-4, 4, 17))


def forest():
    return RandomForestRegressor(max_features=0.3, random_state=0)


COUNTED = {
    "control: composition, ridge": (composition, ridge),
    "control: composition and groups, ridge": (composition_and_groups, ridge),
    "control: Morgan counts, ridge": (morgan_counts, ridge),
    "control: Morgan counts, random forest": (morgan_counts, forest),
}


# What is stored


class Log:
    """One row a model and task; what is stored is not done again."""

    def __init__(self, data, seed, table, split, folder=RESULTS):
        self.about = dict(data=data, seed=seed)
        self.folder = folder
        self.path = self.file("evidence")
        self.table, self.split = table, split
        self.rows = self._stored()

    def file(self, what):
        """Path of a kind of results of this data set and seed."""
        return self.folder / f"{what}_{self.about['data']}_{self.about['seed']}.csv"

    def _stored(self):
        return pd.read_csv(self.path).to_dict("records") if self.path.exists() else []

    def has(self, model):
        return any(row["model"] == model for row in self.rows)

    def add(self, model, Y_hat):
        table, split = self.table, self.split
        self.rows = self._stored()  # another process may have added some
        errors = []
        for j in tested(table, split):
            sd = np.nanstd(table.Y[split.train, j])
            errors.append(np.nanmean(np.abs(Y_hat[:, j] - table.Y[split.test, j])) / sd)
            row = self.about | dict(model=model, task=table.task_names[j], error=round(float(errors[-1]), 5))
            parts = dict(n_train=split.train, n_test=split.test)
            self.rows.append(row | {name: int(table.mask[part, j].sum()) for name, part in parts.items()})
        pd.DataFrame(self.rows).to_csv(self.path, index=False)
        where = f"{self.about['data']} {self.about['seed']}"
        print(f"{where}  {model:48s} {np.mean(errors):.4f}", flush=True)

    def fit(self, model, make):
        """Fit and score a model unless that is stored; `make` returns an estimator that is not fitted."""
        if self.has(model):
            return
        Y_hat = make().fit(self.table, self.split).predict(self.table.select(self.split.test)).to_numpy()
        self.add(model, Y_hat)


def trained(kind, log, config, folder, jobs):
    """Train ST or MT, or take what an earlier call has kept; store its errors and validation curves."""
    data, seed = log.about["data"], log.about["seed"]
    kept = None if folder is None else Path(folder) / f"{data}_{seed}_{kind}"
    if kept is not None and (kept / "config.json").exists():
        model = load_model(kept)
    else:
        model = {"ST": SingleTask, "MT": MultiTask}[kind](config, seed=seed, n_jobs=jobs)
        model.fit(log.table, log.split)
        if kept is not None:
            model.save(kept)
    if not log.has(kind):
        log.add(kind, model.predict(log.table.select(log.split.test)).to_numpy())
        write_curves(model, kind, log)
    return model


def write_curves(model, kind, log):
    """Validation error of every network after every round, averaged over its tasks."""
    parts = []
    for one in model.networks_[0]:
        h = one.history
        name = one.tasks[0] if kind == "ST" else "all"
        rows = dict(step=h.step, planned=h.steps, valid_mse=h.valid_loss.astype(float).mean(axis=1).round(5))
        parts.append(pd.DataFrame(rows).assign(model=kind, network=name))
    store_curves(parts, log)


def store_curves(parts, log):
    """Add validation curves to those that are stored."""
    path = log.file("curves")
    stored = [pd.read_csv(path)] if path.exists() else []
    columns = ["model", "network", "step", "planned", "valid_mse"]
    pd.concat([*stored, *parts])[columns].to_csv(path, index=False)


# Fused models


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
        "control: ST embeddings, ridge": lambda: FusedMultiTask(single, head="ridge", **options),
        "control: untrained encoders": lambda: FusedMultiTask([untrained, *few], **options),
        "control: untrained encoders, ridge": lambda: FusedMultiTask(untrained, head="ridge", **options),
        "control: MT embedding": lambda: FusedMultiTask([multi, *few], **options),
        "control: MT embedding, ridge": lambda: FusedMultiTask(multi, head="ridge", **options),
    }


def part_of(single, names):
    """The single-task networks of some properties."""
    part = copy.copy(single)
    part.tasks_ = tuple(task for task in single.tasks_ if task.name in names)
    part.networks_ = [[one for one in row if one.tasks[0] in names] for row in single.networks_]
    return part


def task_by_task(log, name, encoders_for, options):
    """Score, for each property, a fused model of encoders chosen for it."""
    if log.has(name):
        return
    molecules = log.table.select(log.split.test)
    out = np.empty((molecules.n, log.table.t))
    for j, task in enumerate(log.table.task_names):
        model = FusedMultiTask(encoders_for(task), **options).fit(log.table.only([task]), log.split)
        out[:, j] = model.predict(molecules).to_numpy()[:, 0]
    log.add(name, out)


def wide_network(log, config, seed, jobs):
    """A multi-task network with about as many weights as all that F-MT fuses: they grow with the square of the width."""
    width = round(config.d_h * (log.table.t + 1) ** 0.5)
    return MultiTask(replace(config, d_h=width, head_width=width), seed=seed, n_jobs=jobs)


def controls(log, single, multi, config, options, jobs):
    """Own block only, all blocks but the own, T seeds of one property, labels that mean nothing, and as many weights in one network."""
    table, split, seed = log.table, log.split, log.about["seed"]
    names = table.task_names
    task_by_task(log, "control: own block only", lambda task: part_of(single, [task]), options)
    rest = {task: [name for name in names if name != task] for task in names}
    task_by_task(log, "control: all ST blocks but the own", lambda task: part_of(single, rest[task]), options)
    name = "control: T seeds of the property with most labels"
    if not log.has(name):
        best = names[int(table.mask[split.train].sum(axis=0).argmax())]
        seeds = spawn_seeds(seed, table.t)
        one = [SingleTask(config["ST"], seed=s, n_jobs=jobs).fit(table.only([best]), split) for s in seeds]
        log.fit(name, lambda: FusedMultiTask(one, **options))
    log.fit("control: MT with as many weights as F-MT", lambda: wide_network(log, config["MT"], seed, jobs))
    three = encoders_to_fuse(single, multi)
    log.fit("F-MT, out-of-fold embeddings", lambda: FusedMultiTask(three, out_of_fold=3, **options))
    name = "control: shuffled labels, F-MT"
    if not log.has(name):
        mixed = shuffled(table, split, seed)
        encoders = [SingleTask(config["ST"], seed=seed, n_jobs=jobs), MultiTask(config["MT"], seed=seed)]
        model = FusedMultiTask(encoders_to_fuse(*encoders), **options).fit(mixed, split)
        log.add(name, model.predict(table.select(split.test)).to_numpy())


def shuffled(table, split, seed):
    """The table with the labels of each property shuffled among the molecules that have one; test rows stay."""
    rng = np.random.default_rng(seed)
    Y = table.Y.copy()
    known = np.concatenate([split.train, split.valid])
    for j in range(table.t):
        rows = known[table.mask[known, j]]
        Y[rows, j] = rng.permutation(Y[rows, j])
    return MoleculeTable(table.smiles, Y, table.tasks)


def extend(log, single, options):
    """Add each property in turn to a fused model of the others' encoders; store errors, seconds and weights."""
    path = log.file("extend")
    if path.exists():
        return
    table, split = log.table, log.split
    rows = []
    for task in table.task_names:
        rest = [name for name in table.task_names if name != task]
        few = encoders_to_fuse(part_of(single, rest))
        before = FusedMultiTask(few, **options).fit(table.only(rest), split)
        started = time.perf_counter()
        after = before.extend(task, table, split)
        seconds = time.perf_counter() - started
        known = split.test[table.mask[split.test, table.task_names.index(task)]]
        y = table.Y[known, table.task_names.index(task)]
        error = np.abs(after.predict(table.select(known))[task].to_numpy() - y).mean()
        sd = np.nanstd(table.Y[split.train, table.task_names.index(task)])
        weights = after.encoders_[-1].parameters()["trainable"].iloc[0]
        about = dict(
            task=task, error=round(float(error / sd), 5), seconds=round(seconds, 1), new_weights=int(weights)
        )
        rows.append(about)
        print("extend", about, flush=True)
    pd.DataFrame(rows).to_csv(path, index=False)


CURVE = 50  # points of a curve of Chemprop that are stored, or up to twice as many


def chemprop(log, python, passes, kept, single):
    """Chemprop's multi-task model and (`single`) one model a property, on the same rows, with its defaults but for the number of epochs.

    `kept`: folder of what an earlier call has trained.
    """
    names = log.table.task_names
    kinds = {"Chemprop MT": [names]} | ({"Chemprop ST": [[name] for name in names]} if single else {})
    for kind, groups in kinds.items():
        if log.has(kind):
            continue
        Y_hat = np.full((len(log.split.test), len(names)), np.nan)
        curves = []
        for tasks in groups:
            columns = [names.index(task) for task in tasks]
            frame = rows_for_chemprop(log, columns)
            name = f"{log.about['data']}_{len(tasks)}_{columns[0]}_passes{passes}"
            result = chemprop_run(frame, name, log, python, passes, kept)
            labelled = np.flatnonzero(log.table.mask[log.split.test][:, columns].any(axis=1))
            Y_hat[np.ix_(labelled, columns)] = result["test_predictions"]
            curve = pd.DataFrame(result["valid_loss"], columns=["step", "valid_mse"])
            curve = curve[:: -max(len(curve) // CURVE, 1)][::-1]  # the last one stays
            name = tasks[0] if len(tasks) == 1 else "all"
            curves.append(curve.assign(model=kind, network=name, planned=curve["step"].max()))
        log.add(kind, Y_hat)
        store_curves(curves, log)


def rows_for_chemprop(log, columns):
    """Molecules that have a label of some properties, those labels, and the part of the split each is in."""
    table, split = log.table, log.split
    part = np.full(table.n, "", dtype=object)
    for label in ("train", "valid", "test"):
        part[getattr(split, label)] = label
    names = [table.task_names[j] for j in columns]
    frame = pd.DataFrame(table.Y[:, columns], columns=names).assign(smiles=table.smiles, split=part)
    return frame[frame[names].notna().any(axis=1) & (frame["split"] != "")]


def chemprop_run(frame, name, log, python, passes, kept):
    """What Chemprop makes of a frame, by chemprop_baseline.py."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if kept is None else Path(kept) / "chemprop"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}_seed{log.about['seed']}.csv"
        frame.to_csv(file, index=False)
        script = Path(__file__).with_name("chemprop_baseline.py")
        command = [python, script, file, "--out", folder, "--epochs", passes]
        subprocess.run([str(word) for word in command], check=True)
        return json.loads((folder / f"{file.stem}_chemprop{log.about['seed']}.json").read_text())


def run(data, seed, args):
    """Fit and score everything on one data set with one seed."""
    study = DATA[data]
    table, split = study.read(args.data, seed)
    log = Log(data, seed, table, split, args.results)
    print(f"{table!r}\n{split!r}", flush=True)
    if not log.has("mean"):
        mean = np.nanmean(table.Y[split.train], axis=0)
        log.add("mean", np.tile(mean, (len(split.test), 1)))
    if "counts" in args.parts:
        counted(log)
    if args.chemprop_python and "chemprop" in args.parts:
        single = seed in study.chemprop_st
        chemprop(log, args.chemprop_python, study.passes, args.models, single)
    if "networks" in args.parts:
        networks(log, study, args)


def counted(log):
    """Controls that need no network; those on 2,048 columns only where they take minutes."""
    for name, (features, make) in COUNTED.items():
        if not log.has(name) and not (features is morgan_counts and log.table.n > 10_000):
            log.add(name, per_task(features(log.table.smiles), log.table, log.split, make))


def networks(log, study, args):
    """Train ST and MT and fit what is made of them."""
    seed = log.about["seed"]
    kinds = {"ST": SingleTask, "MT": MultiTask}
    config = {name: replace(kind.default_config, **study.changes) for name, kind in kinds.items()}
    single, multi = (trained(name, log, config[name], args.models, args.jobs) for name in kinds)
    untrained = UntrainedEncoders(config=TrainConfig(), seed=seed)
    for name, make in variants(single, multi, untrained, dict(seed=seed)).items():
        if study.ablations or name in EVERYWHERE:
            log.fit(name, make)
    if args.controls:
        controls(log, single, multi, config, dict(seed=seed), args.jobs)
    if args.extend:
        extend(log, single, dict(seed=seed))


def one_thread():
    """One thread a process, Chemprop's too: more of them would add up in another order, and results would not come out again."""
    os.environ["OMP_NUM_THREADS"] = "1"  # what is started from here
    torch.set_num_threads(1)
    threadpool_limits(1)


KEYS = {
    "evidence": (["data", "seed", "model", "task"], "error"),
    "curves": (["model", "network", "step"], "valid_mse"),
    "extend": (["task"], "error"),
}


SHOWN = 24  # rows of a file that came out otherwise
ELSEWHERE = """Trainings come out the same, to the last digit, on processors of one kind. The stored ones are from an Intel Xeon.
Another kind adds up in another order, and training magnifies that: then compare mean errors. Here they are with a 95 % interval of the difference, over the properties."""


def whole(index):
    """What each row is a part of: a model, or a network; a row without more keys stands for itself."""
    return index.droplevel(-1) if index.nlevels > 1 else index


def compare(folder, keep=None):
    """Say, file by file, how results in a folder differ from the stored ones; give the number of files that do.

    Models and networks that are in both must have the same rows: a training that stopped earlier is a difference.
    `keep`: a file for the mean errors, stored and again.
    """
    files = [path for what in KEYS for path in sorted(folder.glob(f"{what}_*.csv"))]
    if not files:
        sys.exit(f"{folder} holds no results: evidence.py NAME --results {folder} stores some there.")
    differing, pairs = 0, []
    for path in files:
        if not (RESULTS / path.name).exists():
            print(f"{path.name}: nothing is stored to compare it with")
            continue
        keys, value = KEYS[path.name.split("_")[0]]
        stored, again = (pd.read_csv(where / path.name).set_index(keys)[value] for where in (RESULTS, folder))
        parts = [
            one[whole(one.index).isin(whole(two.index))] for one, two in ((stored, again), (again, stored))
        ]
        both = pd.DataFrame(dict(stored=parts[0], again=parts[1]))
        gap = (both["stored"] - both["again"]).abs()
        other = both[~(gap == 0)]
        print(
            f"{path.name}: {len(both) - len(other)} of {len(both)} rows are the same, largest difference {gap.max():.5f}; "
            f"{len(stored) - len(parts[0])} stored rows were not run, {len(again) - len(parts[1])} are not stored"
        )
        if len(other):
            print(other.head(SHOWN).to_string())
            if len(other) > SHOWN:
                print(f"and {len(other) - SHOWN} more")
        differing += len(other) > 0
        if value == "error" and "model" in keys:
            pairs.append(both)
    if pairs:
        means = mean_errors(pd.concat(pairs))
        if keep is not None:
            means.to_csv(keep)
        if differing:
            print(f"\n{ELSEWHERE}\n{means.to_string(na_rep='-')}\n{verdict(means)}")
    return differing


def mean_errors(both):
    """Mean error of each model over properties and seeds, stored and again; the difference with a 95 % t interval over the properties."""
    rows = both.dropna().assign(difference=lambda frame: frame["again"] - frame["stored"])
    tasks = rows.groupby(["data", "model", "task"], sort=False).mean()
    groups = tasks.groupby(["data", "model"], sort=False)
    found, n = groups.mean(), groups.size()
    half = stats.t.ppf(0.975, n - 1) * groups["difference"].std() / np.sqrt(n)
    seeds = rows.reset_index().groupby(["data", "model"], sort=False)["seed"].nunique()
    return found.assign(plus_minus=half).round(5).assign(seeds=seeds)


def verdict(means):
    """How many models' mean errors came out the same, within their interval, or not, as text."""
    other = means[means["difference"] != 0]
    within = other["difference"].abs() <= other["plus_minus"]
    return (
        f"Of {len(means)} mean errors {len(means) - len(other)} are the same to the last digit, {within.sum()} differ by no more than "
        f"their 95 % interval (that one in twenty exceeds by chance), {(~within).sum()} by more."
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=sorted(DATA), help="which data set")
    parser.add_argument("--data", help="file of the qm9 or experimental table")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: all that are stored")
    parser.add_argument("--models", help="folder that keeps the trained networks")
    parser.add_argument("--jobs", type=int, help="processes; default: one a processor")
    parts = ["counts", "chemprop", "networks"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="default: all")
    parser.add_argument("--chemprop-python", help="python of an environment with Chemprop 2.3.1")
    parser.add_argument("--controls", action="store_true", help="also the controls that need more trainings")
    parser.add_argument(
        "--extend", action="store_true", help="also add each property to a model of the others"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to store in")
    parser.add_argument("--summary", action="store_true", help="write evidence.md from the stored results")
    parser.add_argument("--compare", type=Path, metavar="FOLDER", help="compare results with the stored ones")
    parser.add_argument(
        "--keep", action="store_true", help="with --compare: keep the mean errors, for the summary"
    )
    args = parser.parse_args()
    if args.summary:
        print(write_summary())
        return
    if args.compare:
        sys.exit(compare(args.compare, RESULTS / "again.csv" if args.keep else None))
    if args.name is None or (args.name != "bundled" and args.data is None):
        parser.error("give a data set (with --data, except for bundled), or --summary or --compare")
    args.results.mkdir(parents=True, exist_ok=True)
    one_thread()
    warnings.simplefilter("ignore", TrainingWarning)
    for seed in args.seeds or DATA[args.name].seeds:
        run(args.name, seed, args)


if __name__ == "__main__":
    main()

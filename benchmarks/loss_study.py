"""How much should a label weigh in the loss of the multi-task network? Validation rows of the measured properties only.

A label of a property with n training labels weighs n ** -power: 1 is our loss, in which every property counts the same, 0 that of
Chemprop, in which every label does. Printed: the error (MAE in standard deviations) over all properties and over those with ten
validation labels or more. With `--keep 5` the network sees five validation labels a property, and the error is that on the others,
of each property's own best state and of the state that is best for all together, over the properties with 15 such labels or more.

    python benchmarks/loss_study.py --data sparse_experimental.csv.gz --power 0
    python benchmarks/loss_study.py --data sparse_experimental.csv.gz --power 1 --keep 5
"""

import argparse
import warnings

import numpy as np
from evidence import experimental

from fusionbook import training
from fusionbook.core import TrainingWarning
from fusionbook.fusion import MultiTask
from fusionbook.graphs import pack_graphs
from fusionbook.molecules import MoleculeTable


def weigh_by(power):
    """Put other weights of labels in the place of the package's."""

    def label_weights(Y):
        n = np.maximum((~np.isnan(Y)).sum(axis=0), 1).astype(float)
        return n**-power / (n**-power * n).sum()

    training.label_weights = label_weights


def hide(table, split, keep, seed):
    """The table without validation labels beyond `keep` a property, and which labels those are."""
    rng = np.random.default_rng(seed)
    Y, hidden = table.Y.copy(), np.zeros_like(table.mask)
    for j in range(table.t):
        known = split.valid[table.mask[split.valid, j]]
        away = rng.permutation(known)[keep:]
        Y[away, j] = np.nan
        hidden[away, j] = True
    return MoleculeTable(table.smiles, Y, table.tasks), hidden


def errors(Y_hat, table, split, known):
    """MAE of each property in standard deviations of its training labels, on the labels that are asked for."""
    gap = np.abs(Y_hat - table.Y[split.valid]) / np.nanstd(table.Y[split.train], axis=0)
    return np.array([np.mean(column[own]) if own.any() else np.nan for column, own in zip(gap.T, known.T)])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--power", type=float, default=1.0)
    parser.add_argument(
        "--keep", type=int, help="validation labels a property that training sees; default: all"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore", TrainingWarning)
    weigh_by(args.power)
    table, split = experimental(args.data, args.seed)
    seen, asked = (table, table.mask) if args.keep is None else hide(table, split, args.keep, args.seed)
    network = MultiTask(seed=args.seed, n_jobs=1).fit(seen, split).networks_[0][0]
    store, known = pack_graphs([table.smiles[i] for i in split.valid]), asked[split.valid]
    own = errors(network.predict(store), table, split, known)
    network.network.load_state_dict(network.states[network.state_of[-1]])
    shared = training.predict_rows(network.network, store) * network.std + network.mean
    together = errors(shared, table, split, known)
    many = known.sum(axis=0) >= (10 if args.keep is None else 15)
    print(f"power {args.power}, seed {args.seed}, validation labels: {args.keep or 'all'}")
    print(f"own states: all properties {np.nanmean(own):.4f}, with many labels {own[many].mean():.4f}")
    print(
        f"one state:  all properties {np.nanmean(together):.4f}, with many labels {together[many].mean():.4f}"
    )


if __name__ == "__main__":
    main()

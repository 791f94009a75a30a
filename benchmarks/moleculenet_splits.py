"""Write random 80/10/10 splits of ESOL, FreeSolv and Lipophilicity as CSV files with a `split` column.

Runs where fusionbook is installed. Every benchmark then reads these files, so all models see the same rows:

    python benchmarks/moleculenet_splits.py --data moleculenet --out splits

writes splits/esol_seed0.csv and so on (see split_files.py for the columns). The folder is scratch: the data sets
are not part of this project.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from split_files import split_hash

from fusionbook.molecules import read_molecules, split_molecules

DATASETS = ("esol", "freesolv", "lipo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with esol.csv.gz and the others")
    parser.add_argument("--out", type=Path, required=True, help="folder for the CSV files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    for name in DATASETS:
        table = read_molecules(args.data / f"{name}.csv.gz")
        frame = table.to_frame().drop(columns=table.extra.columns)
        for seed in args.seeds:
            split = split_molecules(table, by="random", fractions=(0.8, 0.1, 0.1), seed=seed)
            path = args.out / f"{name}_seed{seed}.csv"
            split_frame = frame.assign(split=split.to_column(table.n))
            split_frame.to_csv(path, index=False)
            print(f"{path}: {split}, {len(table.rejected)} rows rejected, hash {split_hash(split_frame)}")


if __name__ == "__main__":
    main()

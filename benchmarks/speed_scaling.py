"""What one pass over the table costs, against the size of the table and the number of encoders; and the floor.

ZINC molecules with made-up targets (speed does not depend on them), d_h 300, depth 3, batch 64, float32. Seconds are those of one
processor, whatever else it does; several processes share them out. At most 40 steps an encoder are taken, and scaled to the whole
pass. The floor is the time of the products of matrices that the networks define, at the rate that one thread reaches at these
sizes; a ratio above 1 is possible because equal states are computed once. Making the graphs is paid once, whatever the number of encoders.

    python benchmarks/speed_scaling.py --data DATA
"""

import json
import time
import warnings

import numpy as np
import torch
from speed_common import keep, operations, parser, product_rate, row, zinc

from fusionbook.graphs import pack_graphs
from fusionbook.training import TrainConfig, count_steps, fit_many

BATCH = 64
STEPS = 40


def one_pass(store, n_encoders: int, limit: int) -> tuple[float, float]:
    """Seconds of one pass of all encoders, scaled from at most `limit` steps each; seconds of the floor."""
    n = len(store)
    Y = np.random.default_rng(0).normal(size=(n, n_encoders))
    valid = np.arange(32)
    config = TrainConfig(batch_size=BATCH, epochs=1, min_steps=1, evaluations=1, precision="float32")
    planned = count_steps(n, config)
    config = TrainConfig(**{**vars(config), "max_steps": min(planned, limit)})
    common = dict(store=store, train=np.arange(n), valid=valid, config=config)
    jobs = [dict(common, Y=Y[:, [j]], tasks=[f"y{j}"], seed=j) for j in range(n_encoders)]
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit_many(jobs, n_jobs=1, progress=False)
    seconds = (time.process_time() - start) * planned / config.max_steps
    n_bonds = store.edge_index.shape[1]
    rate = product_rate(round(BATCH * n_bonds / n), time.process_time)
    floor = n_encoders * 3 * operations(n_bonds, len(store.atom_type), n) / rate
    return seconds, floor


def picture(rows: list[dict], path) -> None:
    """Cost and floor against the size of the table, one colour a number of encoders."""
    import plotly.graph_objects as go

    fig = go.Figure()
    for colour, t in zip(("#0072b2", "#e69f00", "#009e73"), sorted({one["T"] for one in rows})):
        own = [one for one in rows if one["T"] == t]
        x = [one["n"] for one in own]
        lines = (("ours", "ours", "solid"), ("peer", "floor: all products", "dot"))
        for key, what, dash in lines:
            name = f"{t} encoder{'s' * (t > 1)}, {what}"
            fig.add_scatter(x=x, y=[one[key] for one in own], name=name, line=dict(color=colour, dash=dash))
    fig.update_layout(
        template="simple_white",
        width=760,
        height=460,
        title="Processor seconds of one pass over the table",
    )
    fig.update_xaxes(type="log", title="molecules")
    fig.update_yaxes(type="log", title="processor seconds")
    fig.write_image(path)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    options.add_argument("--encoders", type=int, nargs="+", default=[1, 4, 12])
    options.add_argument("--picture", action="store_true", help="only draw the stored rows again")
    options = options.parse_args()
    if not options.picture:
        measure(options)
    stored = [one for one in json.loads(options.out.read_text()) if one["name"].startswith("scaling")]
    try:
        picture(stored, options.out.with_name("scaling.png"))
    except (RuntimeError, ValueError, ImportError) as error:
        print(f"no picture: {error}")


def measure(options) -> None:
    """Measure all sizes and numbers of encoders, and store the rows."""
    torch.set_num_threads(1)
    smiles = zinc(options.data, max(options.sizes))
    one_pass(pack_graphs(smiles[:500]), 2, 5)  # warms up
    rows = []
    for n in options.sizes:
        start = time.process_time()
        store = pack_graphs(smiles[:n], n_jobs=1)
        graphs = time.process_time() - start
        for t in options.encoders:
            measured = [one_pass(store, t, STEPS) for _ in range(options.repeats)]
            name = (
                f"scaling, one pass over {n:,} ZINC molecules, {t} encoder{'s' * (t > 1)}, against the floor"
            )
            one = row(name, *zip(*measured), "s (processor time)", False)
            rows.append(one | {"n": n, "T": t, "seconds for graphs": round(graphs, 2)})
            print(json.dumps(rows[-1]), flush=True)
    keep(rows, options.out)


if __name__ == "__main__":
    main()

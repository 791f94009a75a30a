"""Kernel-side times of the views on 6,000 molecules: making each view, and one reaction of each kind.

    OMP_NUM_THREADS=1 python benchmarks/speed_widgets.py

The default fused model of all twelve properties, sixteen encoders of width 300, trained for two steps only (what they have
learned does not change the time). All molecules are embedded once; that first computation is printed on its own line, because a view shows "Computing ..." during it and the
kernel stays free. All other times are with those results at hand. What the page needs for drawing is not in them.
A view should be there within 1 s and react within 150 ms; on a machine that others use too, the time of the processors (CPU) tells more.
The table goes to results/speed_widgets.json; another first argument than 6000 is for trying out, and writes nothing.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from speed_common import machine

N = 6000
RESULTS = Path(__file__).parent / "results" / "speed_widgets.json"


def make_study(n: int = N):
    """A study of the bundled table, with a fused model of all its properties that was hardly trained."""
    from fusionbook.datasets import load_xtb
    from fusionbook.fusion import FusedMultiTask, MultiTask, SingleTask, encoders_to_fuse
    from fusionbook.molecules import split_molecules
    from fusionbook.training import TrainConfig
    from fusionbook.widgets import Study

    table = load_xtb()
    table = table.select(np.arange(min(n, table.n)))
    split = split_molecules(table, seed=0)
    config = TrainConfig(min_steps=2, max_steps=2, evaluations=1)
    single = SingleTask(config, n_jobs=1, progress=False).fit(table, split)
    multi = MultiTask(config, n_jobs=1, progress=False).fit(table, split)
    fused = FusedMultiTask(encoders_to_fuse(single, multi)).fit(table, split)
    return Study(table, split, {"F-MT": fused}, background=False)


def timed(rows: list, name: str, call, repeats: int = 3):
    """Run `call` and note the median time in milliseconds, by the clock and of the processors."""
    seconds, cpu = [], []
    for i in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        result = call(i)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    rows.append((name, 1000 * float(np.median(seconds)), 1000 * float(np.median(cpu))))
    print(f"{name:58s} {rows[-1][1]:9.0f} ms, {rows[-1][2]:9.0f} ms CPU", flush=True)
    return result


def run(n: int = N) -> list[tuple[str, float, float]]:
    """Measure everything and return (what, milliseconds, milliseconds of CPU)."""
    from fusionbook import widgets

    warnings.simplefilter("ignore")
    study = make_study(n)
    names = study.table.task_names
    print(f"{study.n:,} molecules, {len(names)} properties")
    rows = []
    once = lambda name, call: timed(rows, f"once, in the background: {name}", lambda i: call(), 1)  # noqa: E731
    once("embedding", lambda: study.embedding("F-MT"))
    once("map of all blocks", lambda: study.latent("F-MT", None))
    once("maps of two blocks", lambda: [study.latent("F-MT", name) for name in names[:2]])
    once("predictions", lambda: study.predictions("F-MT"))
    once("leverage of all molecules", lambda: study.row_leverage("F-MT"))
    once("leverage at all ranks", lambda: study.spectrum("F-MT"))
    once("connections (CKA, with floor)", lambda: widgets.connected(study, "F-MT", "cka"))
    once("all pairs of spaces made ready", lambda: widgets.prepare_pairs(study, "F-MT"))
    once("first feature card", lambda: widgets.make_card(study, "F-MT", names[0], 0))
    once("first molecule inspected", lambda: widgets.inspect_molecule(study, "CCO", "F-MT", names[0]))
    views = {}
    for kind in widgets.VIEWS:
        views[kind] = timed(rows, f"make {kind.__name__}", lambda i, kind=kind: kind(study), 1)
    for view in list(views.values()):
        view.close()
    view = widgets.EmbeddingExplorer(study)
    timed(rows, "map: second map", lambda i: setattr(view.second, "value", names[i % 2]))
    timed(rows, "map: other property", lambda i: setattr(view.task, "value", names[1 + i]))
    timed(
        rows,
        "map: other colour",
        lambda i: setattr(view.colour_by, "value", ("error", "leverage", "split")[i]),
    )
    timed(rows, "map: hover", lambda i: setattr(study, "hovered", 100 + i))
    timed(rows, "map: select 3,000", lambda i: setattr(study, "selection", range(i, 3000)))
    timed(rows, "map: find by SMILES", lambda i: view.find(study.table.smiles[i]))
    view.how.value = "SMARTS"
    timed(rows, "map: find by SMARTS", lambda i: view.find(("[OX2H]", "c", "N")[i]))
    timed(rows, "map: paste a SMILES", lambda i: view.paste(("CCO", "CCCCO", "CCN")[i]))
    view.close()
    view = widgets.LeverageExplorer(study)
    ranks = study.spectrum("F-MT").ranks
    timed(rows, "leverage: move the slider", lambda i: setattr(study, "k", ranks[i]))
    timed(rows, "leverage: another feature", lambda i: view.click_feature(names[1], i))
    view.close()
    view = widgets.ConnectionExplorer(study)
    timed(rows, "connections: open two spaces", lambda i: view.open_pair(names[0], names[1 + i]))
    timed(rows, "connections: back to all", lambda i: setattr(view.shown, "value", "all connections"), 1)
    view.close()
    view = widgets.MoleculeInspector(study)
    timed(
        rows,
        "molecule: another SMILES",
        lambda i: setattr(view.first, "value", ("CCCO", "c1ccccc1", "CCN")[i]),
    )
    view.close()
    view = widgets.PropertyPicker(study)
    timed(rows, "picker: tick", lambda i: view.tick(names[i], False))
    return rows


def report(rows: list[tuple[str, float, float]]) -> None:
    """Name the slowest of what should take 1 s and of what should take 150 ms."""
    views = [row for row in rows if row[0].startswith("make ")]
    reactions = [row for row in rows if ": " in row[0] and not row[0].startswith("once")]
    for words, found, limit in (("slowest view", views, 1000), ("slowest reaction", reactions, 150)):
        name, clock, cpu = max(found, key=lambda row: row[2])
        over = sum(row[2] > limit for row in found)
        print(
            f"{words}: {name}, {cpu:.0f} ms CPU ({clock:.0f} ms); {over} of {len(found)} over {limit} ms CPU"
        )


def write(rows: list[tuple[str, float, float]]) -> None:
    """Keep the table, with the command and the machine."""
    listed = [{"what": name, "ms": round(clock, 1), "CPU ms": round(cpu, 1)} for name, clock, cpu in rows]
    command = "OMP_NUM_THREADS=1 python benchmarks/speed_widgets.py"
    about = {"command": command, "machine": machine(), "molecules": N, "rows": listed}
    RESULTS.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else N
    found = run(n)
    report(found)
    if n == N:
        write(found)

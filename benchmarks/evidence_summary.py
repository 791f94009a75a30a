"""The stored results of evidence.py as one page, results/evidence.md, and its short table on the start page (`make readme` then
copies that to README.md); a part of `python benchmarks/evidence.py --summary`.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from evidence_figures import MODELS, errors_figure, gain_figure
from scipy import stats

RESULTS = Path(__file__).parent / "results"
START = Path(__file__).parents[1] / "nbs" / "index.ipynb"  # its cell "evidence" is the short table
TITLES = {
    "bundled": "The bundled table, 5 % to 50 % of the labels",
    "qm9": "Sparse QM9: 4,000 molecules, 10 % of the labels",
    "rate2": "QM9: 4,000 molecules, 2 % of the labels",
    "rate5": "QM9: 4,000 molecules, 5 % of the labels",
    "rate30": "QM9: 4,000 molecules, 30 % of the labels",
    "uneven": "QM9: 4,000 molecules, 2 % to 50 % of a property's labels",
    "complete": "Complete QM9: 18,000 molecules, all labels",
    "experimental": "16 measured properties of 6,000 molecules, scaffold split",
    "experimental_random": "16 measured properties of 6,000 molecules, random split",
    "melting": "16 measured properties, scaffold split, with 6,000 more molecules that have a melting point only",
    "computed": "16 measured properties, scaffold split, with twelve computed properties of 3,000 of the molecules",
    "development": "16 measured properties of 7,000 other molecules, scaffold split, a fifth for testing",
}
RATES = {
    "rate2": "2 %",
    "rate5": "5 %",
    "qm9": "10 %",
    "rate30": "30 %",
    "uneven": "2 % to 50 %, a property each",
    "complete": "100 % (18,000 molecules)",
}
SHORT = {  # what the pictures call them
    "bundled": "bundled, 5-50 % of labels",
    "rate2": "QM9, 2 % of labels",
    "rate5": "QM9, 5 % of labels",
    "qm9": "sparse QM9, 10 % of labels",
    "rate30": "QM9, 30 % of labels",
    "uneven": "QM9, 2-50 % of labels",
    "complete": "complete QM9",
    "experimental": "measured, scaffold split",
    "experimental_random": "measured, random split",
    "melting": "measured, more melting points",
    "computed": "measured, with computed",
    "development": "measured, development",
}
PANELS = ("bundled", "qm9", "complete", "experimental")
ADDITIVE = "alpha zpve r2 cv u0_atom u298_atom h298_atom g298_atom polarisability atomisation".split()
FEW = 10  # with fewer test labels the error of a property is mostly chance
SINGLE_CONTROLS = [
    "control: composition, ridge",
    "control: composition and groups, ridge",
    "control: untrained encoders, ridge",
    "control: MT embedding, ridge",
]


AGAIN = """Mean errors as stored, and of the same seeds on an AMD EPYC (`evidence.py --compare FOLDER --keep`; the FOLDER is `benchmarks/results`
of commit c460c91, without complete QM9 and the models made otherwise since: on CUR columns, out of fold, Chemprop ST, Chemprop MT of `bundled`). *Other digits*: models whose mean
came out otherwise. *By chance*: those of them whose difference is within its 95 % t interval over the properties, as 19 of 20 should be."""


def read_results(data):
    """All stored rows of one data set: columns data, seed, model, task, error, n_train, n_test; seeds without F-MT are under way."""
    frames = [pd.read_csv(path) for path in sorted(RESULTS.glob(f"evidence_{data}_[0-9]*.csv"))]
    done = [frame for frame in frames if (frame["model"] == "F-MT").any()]
    return pd.concat(done) if done else None


def having(frame, models):
    """The rows of some models, of those seeds that have all of them."""
    part = frame[frame["model"].isin(models)]
    return part[part.groupby("seed")["model"].transform("nunique") == len(models)]


def by_task(frame, models):
    """A row a property, a column a model: the error over all test molecules of those seeds that have all the models."""
    part = having(frame, models)
    summed = part.assign(error=part["error"] * part["n_test"]).groupby(["task", "model"], sort=False)
    return (summed["error"].sum() / summed["n_test"].sum()).unstack()[models]


def wide_of(frame):
    """A row a pair of seed and property, a column a model: MAE in standard deviations; NaN where not run."""
    wide = frame.pivot_table(index=["seed", "task"], columns="model", values="error", sort=False)
    return wide[sorted(wide, key=lambda model: MODELS.index(model) if model in MODELS else len(MODELS))]


def spread(values):
    """Mean and standard deviation over seeds as text."""
    values = np.asarray(values.dropna())
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


def difference(wide, model):
    """F-MT's error minus another model's, a mean a seed: mean with 95 % t interval over seeds, as text."""
    per_seed = (wide["F-MT"] - wide[model]).groupby("seed").mean().dropna()
    mean, n = per_seed.mean(), len(per_seed)
    if model == "F-MT" or n < 2:
        return "-" if model == "F-MT" else f"{mean:+.3f}"
    half = stats.t.ppf(0.975, n - 1) * per_seed.std(ddof=1) / np.sqrt(n)
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def table_of(frame):
    """Markdown: every model's error, its ratio to MT, wins, rank, and the two kinds of property."""
    wide = wide_of(frame)
    everywhere = wide.dropna(axis=1)
    ranks = everywhere.rank(axis=1).mean()
    additive = wide.index.get_level_values("task").isin(ADDITIVE)
    tested = frame[frame["model"] == "ST"].set_index(["seed", "task"])["n_test"].reindex(wide.index)
    many = (tested >= FEW).to_numpy()
    head = "model|seeds|error|/ MT|F-MT minus it|beats ST|beats MT|mean rank|additive|other".split("|")
    head += [] if many.all() else [f"{FEW} test labels or more"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for model, column in wide.items():
        there = column.notna()
        seeds = column.groupby("seed").mean()
        ratio = seeds / wide["MT"].groupby("seed").mean()
        wins = [f"{int((column < wide[one])[there].sum())} of {there.sum()}" for one in ("ST", "MT")]
        parts = [f"{column[part].mean():.3f}" if part.any() else "-" for part in (additive, ~additive)]
        rank = f"{ranks[model]:.1f}" if model in ranks else "-"
        n = column.dropna().index.get_level_values("seed").nunique()
        cells = [model, str(n), spread(seeds), spread(ratio), difference(wide, model), *wins, rank, *parts]
        cells += [] if many.all() else [f"{column[many].mean():.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def tasks_of(frame):
    """Markdown: a row a property, over the test molecules of all seeds, of the models that matter most."""
    shown = ["mean", "ST", "MT", "Chemprop MT", "control: untrained encoders, ridge", "F-MT"]
    shown = [name for name in shown if (frame["model"] == name).any()]
    means = by_task(frame, shown)
    own = having(frame, shown)
    counts = own[own["model"] == "ST"].groupby("task", sort=False).agg({"n_train": "mean", "n_test": "sum"})
    head = ["property", "train, a seed", "test, all seeds", *shown]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for task, row in means.loc[counts.index].iterrows():
        numbers = [f"{counts.loc[task, name]:.0f}" for name in ("n_train", "n_test")]
        best = row[shown].min()
        cells = [f"**{row[name]:.3f}**" if row[name] == best else f"{row[name]:.3f}" for name in shown]
        lines.append(f"| {task} | " + " | ".join([*numbers, *cells]) + " |")
    return lines


def extension_of(data):
    """Markdown: what adding one property costs and gives, over the stored seeds; nothing if it was not run."""
    paths = sorted(RESULTS.glob(f"extend_{data}_*.csv"))
    if not paths:
        return []
    frame = pd.concat([pd.read_csv(path).assign(seed=int(path.stem.split("_")[-1])) for path in paths])
    both = frame.merge(read_results(data), on=["seed", "task"], suffixes=("", " other"))
    anew = both[both["model"] == "F-MT without MT"]["error other"].mean()
    return [
        "",
        f"**Adding a property.** Each property in turn is added to a fused model of the others' encoders (no multi-task encoder): "
        f"mean error {frame['error'].mean():.3f}, against {anew:.3f} when all are trained together; {frame['seconds'].mean():.0f} s "
        f"and {frame['new_weights'].mean():,.0f} new encoder weights a property, where training everything anew takes "
        f"{frame['new_weights'].mean() * frame['task'].nunique():,.0f} weights.",
    ]


def ratio(wide, others):
    """Mean over seeds of F-MT's error over the lowest (per seed) of others'; text with the spread."""
    there = [name for name in others if name in wide]
    seeds = wide[["F-MT", *there]].dropna().groupby("seed").mean()
    return spread(seeds["F-MT"] / seeds[there].min(axis=1)) + f" (n = {len(seeds)})"


def wins(frame, others):
    """Properties where F-MT's error, over the test molecules of all seeds, is below that of all others, as text."""
    there = [name for name in others if (frame["model"] == name).any()]
    means = by_task(frame, ["F-MT", *there])
    return f"{int((means['F-MT'] < means[there].min(axis=1)).sum())} of {len(means)}"


def worse_than(wide, other):
    """Properties where F-MT's error exceeds another model's by more than two standard errors over seeds, as text."""
    gap = (wide["F-MT"] - wide[other]).groupby("task").agg(["mean", "std", "count"])
    if gap["count"].min() < 2:
        return "one seed only: not known"
    beyond = gap["mean"] > 2 * gap["std"] / np.sqrt(gap["count"])
    return f"{int(beyond.sum())} of {len(gap)}"


def targets():
    """Markdown: what was aimed at and what was reached, from the stored results."""
    rows = []
    found = {data: read_results(data) for data in TITLES}
    wide = {data: wide_of(frame) for data, frame in found.items() if frame is not None}
    if "qm9" in wide:
        one = wide["qm9"]
        control = [name for name in one if name.startswith("control:") and "shuffled" not in name]
        rows += [
            (
                "sparse QM9: F-MT / better MT (ours, Chemprop)",
                "0.90",
                "0.70",
                ratio(one, ["MT", "Chemprop MT"]),
            ),
            ("sparse QM9: F-MT / ST", "0.80", "0.60", ratio(one, ["ST"])),
            ("sparse QM9: F-MT / better ST (ours, Chemprop)", "-", "-", ratio(one, ["ST", "Chemprop ST"])),
            ("sparse QM9: F-MT / best single control", "0.95", "0.80", ratio(one, SINGLE_CONTROLS)),
            (
                "sparse QM9: properties where F-MT beats ST, MT and these controls",
                "8 of 12",
                "12 of 12",
                wins(found["qm9"], ["ST", "MT", "Chemprop MT", *SINGLE_CONTROLS]),
            ),
            (
                "sparse QM9: the same against every control in the table",
                "8 of 12",
                "12 of 12",
                wins(found["qm9"], ["ST", "MT", "Chemprop MT", *control]),
            ),
        ]
    if "complete" in wide:
        one = wide["complete"]
        rows.append(("complete QM9 (18,000 molecules): F-MT / ST", "below 1", "0.9", ratio(one, ["ST"])))
        rows.append(("complete QM9 (18,000 molecules): F-MT / MT", "below 1", "0.9", ratio(one, ["MT"])))
    for data in ("experimental", "experimental_random", "melting", "computed", "development"):
        name = SHORT[data]
        if data in wide:
            aims = ("12 of 16", "16 of 16"), ("2", "0")
            rows += measured(
                found[data], wide[data], name, aims if data == "experimental" else [("-", "-")] * 2
            )
    for data, one in wide.items():
        if {"F-MT, 300 CUR columns", "F-MT, all columns"} <= set(one):
            rows.append((f"{data}: F-MT on 300 CUR columns / on all columns", "1.10", "1.00", cur_ratio(one)))
    lines = ["| | at least | aim | measured |", "|---|---|---|---|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def measured(frame, wide, name, aims):
    """Rows of the table of aims for one split of the measured properties."""
    rows = []
    if "Chemprop MT" in wide:
        both = having(frame, ["F-MT", "Chemprop MT"])
        for few, what, aim in (
            (0, "", aims[0]),
            (FEW, f" that have {FEW} test molecules or more", ("-", "-")),
        ):
            total = both[both["model"] == "F-MT"].groupby("task")["n_test"].sum()
            part = both[both["task"].isin(total[total >= few].index)]
            text = wins(part, ["Chemprop MT"])
            rows.append((f"{name}: properties{what} where F-MT beats Chemprop MT", *aim, text))
        text = ratio(wide, ["Chemprop MT"])
        rows.append((f"{name}: F-MT / Chemprop MT, mean over properties", "-", "-", text))
    rows.append((f"{name}: properties where F-MT beats our MT", "-", "-", wins(frame, ["MT"])))
    text = worse_than(wide, "ST")
    rows.append((f"{name}: properties where F-MT is worse than ST beyond noise", *aims[1], text))
    return rows


def in_short():
    """Markdown: the models that matter most on each data set, a mean over properties and the spread over seeds."""
    shown = ["F-MT", "MT", "ST", "F-MT, ST only", "Chemprop MT", "Chemprop ST"]
    lines = ["| table | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for data in ("qm9", "complete", "bundled", "experimental", "experimental_random", "development"):
        frame = read_results(data)
        lines.append(short_row(TITLES[data], frame, shown))
        if frame["n_test"].min() < FEW:
            name = f"the same, only properties with {FEW} test molecules or more"
            lines.append(short_row(name, frame[frame["n_test"] >= FEW], shown))
    return lines


def short_row(name, frame, shown):
    """One row of the short table; n: seeds it has, and a model has where those are fewer, with F-MT's error on just those."""
    seeds = wide_of(frame).groupby("seed").mean()
    cells = []
    for model in shown:
        n = seeds[model].count() if model in seeds else 0
        there = seeds["F-MT"][seeds[model].notna()].mean() if n else 0
        fewer = f" (n = {n}; F-MT there {there:.3f})" if 0 < n < len(seeds) else ""
        cells.append(spread(seeds[model]) + fewer if n else "-")
    return f"| {name} (n = {len(seeds)}) | " + " | ".join(cells) + " |"


def rates():
    """Markdown: error against the share of QM9's labels that is known, with the best control that needs no fusion."""
    shown = ["ST", "MT", "F-MT"]
    lines = [
        "| labels | seeds | ST | MT | F-MT | best single control | F-MT / ST | F-MT / MT |",
        "|---" * 8 + "|",
    ]
    for data, share in RATES.items():
        frame = read_results(data)
        if frame is None:
            continue
        wide = wide_of(frame)
        seeds = wide.groupby("seed").mean()
        one = seeds[shown].mean()
        controls = [name for name in SINGLE_CONTROLS if name in wide]
        best = f"{seeds[controls].min(axis=1).mean():.3f}" if controls else "-"
        cells = [share, str(len(seeds)), *(f"{one[name]:.3f}" for name in shown), best]
        lines.append(
            "| " + " | ".join([*cells, *(f"{one['F-MT'] / one[name]:.2f}" for name in ("ST", "MT"))]) + " |"
        )
    return lines if len(lines) > 2 else []


def cur_ratio(wide):
    """F-MT on 300 CUR columns over F-MT on all columns, as text."""
    seeds = wide.groupby("seed").mean()
    return spread(seeds["F-MT, 300 CUR columns"] / seeds["F-MT, all columns"])


def trained_again():
    """Markdown: mean errors that `evidence.py --compare --keep` has kept, beside the stored ones; nothing if it has not."""
    path = RESULTS / "again.csv"
    if not path.exists():
        return []
    means = pd.read_csv(path)
    shown = ["F-MT", "MT", "ST"]
    lines = [
        "| data | seeds | "
        + " | ".join(f"{model}, stored, again" for model in shown)
        + " | other digits | by chance |",
        "|---" * (len(shown) + 4) + "|",
    ]
    for data in [name for name in TITLES if (means["data"] == name).any()]:
        part = means[means["data"] == data].set_index("model")
        pairs = ["{:.3f}, {:.3f}".format(*part.loc[model, ["stored", "again"]]) for model in shown]
        other = part[part["difference"] != 0]
        within = int((other["difference"].abs() <= other["plus_minus"]).sum())
        cells = [SHORT[data], str(part["seeds"].max()), *pairs, f"{len(other)} of {len(part)}", str(within)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def draw_figures():
    """Draw the two pictures of the page; needs a Chromium browser."""
    found = {data: frame for data in SHORT if (frame := read_results(data)) is not None}
    wide = {data: wide_of(frame) for data, frame in found.items()}
    errors_figure(wide, {data: SHORT[data] for data in PANELS}).write_image(RESULTS / "evidence_errors.png")
    gain_figure(found, SHORT, ADDITIVE).write_image(RESULTS / "evidence_gain.png")


def page():
    """The text of evidence.md: the words, with tables and pictures where they say `{{...}}`."""
    parts = {"in short": in_short_and_picture(), "aims": aims_and_picture(), "tables": every_table()}
    text = (RESULTS / "evidence_words.md").read_text(encoding="utf-8").strip()
    for name, lines in parts.items():
        mark = "{{" + name + "}}"
        if text.count(mark) != 1:
            sys.exit(f"evidence_words.md must hold {mark} once, where those lines go")
        text = text.replace(mark, "\n".join(lines).strip())
    return f"# What the evidence says\n\n{text}\n"


def in_short_and_picture():
    """Markdown: the short table and its picture."""
    return [
        *in_short(),
        "",
        "![Mean error of every model and seed on four data sets](evidence_errors.png)",
        "",
        "*Mean error over the properties, a dot a seed, a stroke their mean.*",
    ]


def aims_and_picture():
    """Markdown: aims, what was reached, and where fusion gains."""
    return [
        *targets(),
        "",
        "![Error of F-MT over that of the single-task network, against the number of labels](evidence_gain.png)",
        "",
        f"*What fusion gains over a property's own network, a mark a property and seed (with {FEW} test molecules or more).*",
    ]


def every_table():
    """Markdown: all models and all properties of each data set, and what came out on another processor."""
    lines = []
    if table := rates():
        lines += ["", "### Error against the share of QM9's labels", "", *table]
    for data, title in TITLES.items():
        frame = read_results(data)
        if frame is not None:
            seeds = ", ".join(str(seed) for seed in sorted(frame["seed"].unique()))
            lines += ["", f"### {title}", "", f"`{data}`, seeds {seeds}.", "", *table_of(frame)]
            lines += ["", *tasks_of(frame), *extension_of(data)]
    if table := trained_again():
        lines += ["", "### Trained again on another processor", "", AGAIN, "", *table]
    return lines


def write_summary():
    """Write evidence.md, the table of the start page, and the pictures; returns the text."""
    text = page()
    (RESULTS / "evidence.md").write_text(text, encoding="utf-8")
    notebook = nbformat.read(START, as_version=4)
    next(cell for cell in notebook.cells if cell["id"] == "evidence")["source"] = "\n".join(in_short())
    nbformat.write(notebook, START)
    if find_spec("kaleido"):
        draw_figures()
    else:
        print("The pictures are not drawn anew: that needs kaleido (pip install kaleido).")
    return text

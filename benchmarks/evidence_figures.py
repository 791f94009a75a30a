"""The two pictures of the evidence page, drawn from the stored results; a part of `python benchmarks/evidence.py --summary`."""

from plotly.subplots import make_subplots

from fusionbook.plots import PALETTE

MODELS = [  # from the plainest to the default
    "mean",
    "control: composition, ridge",
    "control: Morgan counts, random forest",
    "control: Morgan counts, ridge",
    "control: composition and groups, ridge",
    "control: untrained encoders, ridge",
    "control: MT embedding, ridge",
    "Chemprop ST",
    "Chemprop MT",
    "ST",
    "MT",
    "F-MT, ST only",
    "F-MT without untrained",
    "F-MT without MT",
    "F-MT, 300 CUR columns",
    "F-MT",
]
SYMBOLS = (
    "circle",
    "diamond",
    "square",
    "triangle-up",
    "cross",
    "x",
    "star-open",
    "circle-open",
    "hourglass",
    "pentagon",
    "diamond-open",
    "bowtie",
)


def errors_figure(wide, titles):
    """One panel a data set, one row a model: the mean error of each seed as a dot, their mean as a line."""
    data = [name for name in titles if name in wide]
    fig = make_subplots(1, len(data), shared_yaxes=True, subplot_titles=[titles[name] for name in data])
    for number, name in enumerate(data, start=1):
        seeds = wide[name].groupby("seed").mean()
        for model in MODELS:
            if model not in seeds:
                continue
            values = seeds[model].dropna()
            colour = PALETTE[3] if model == "F-MT" else PALETTE[0]
            dots = dict(color=colour, size=8, opacity=0.6)
            fig.add_scatter(x=values, y=[model] * len(values), mode="markers", marker=dots, row=1, col=number)
            line = dict(symbol="line-ns", size=14, line=dict(width=2, color=colour))
            fig.add_scatter(x=[values.mean()], y=[model], mode="markers", marker=line, row=1, col=number)
        fig.update_xaxes(title="MAE / SD", rangemode="tozero", row=1, col=number)
    fig.update_yaxes(categoryorder="array", categoryarray=MODELS, showgrid=True)
    fig.update_layout(template="simple_white", width=1150, height=400, showlegend=False)
    fig.update_layout(margin=dict(t=30, l=20, r=20, b=20))
    fig.update_annotations(font_size=13)
    return fig


def gain_figure(frames, titles, additive):
    """Each pair of property and seed: F-MT's error over the single-task network's, against the labels of the property."""
    kinds = ("properties that add up over atoms", "other properties")
    fig = make_subplots(1, 2, shared_yaxes=True, subplot_titles=kinds, horizontal_spacing=0.04)
    for number, name in enumerate(one for one in titles if one in frames):
        pairs = frames[name].pivot_table(index=["seed", "task"], columns="model", values="error", sort=False)
        about = frames[name][frames[name]["model"] == "ST"].set_index(["seed", "task"]).reindex(pairs.index)
        adds_up = pairs.index.get_level_values("task").isin(additive)
        enough = (about["n_test"] >= 10).to_numpy()
        marker = dict(color=PALETTE[number % 6], symbol=SYMBOLS[number], size=7, opacity=0.75)
        for column, kind in enumerate((adds_up, ~adds_up), start=1):
            x, y = about["n_train"][enough & kind], (pairs["F-MT"] / pairs["ST"])[enough & kind]
            look = dict(marker=marker, legendgroup=name, showlegend=column == 2)
            fig.add_scatter(x=x, y=y, mode="markers", name=titles[name], **look, row=1, col=column)
    line = dict(color="grey", dash="dot", width=1.5)
    for column in (1, 2):
        name = "as good as the property's own network"
        even = dict(mode="lines", line=line, name=name, showlegend=column == 2)
        fig.add_scatter(x=[50, 20_000], y=[1, 1], **even, row=1, col=column)
    counts = [100, 300, 1000, 3000, 10_000]
    fig.update_xaxes(type="log", title="training labels of the property", tickvals=counts)
    fig.update_yaxes(type="log", tickvals=[0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.3])
    fig.update_yaxes(title="error of F-MT / error of ST", col=1)
    fig.update_layout(template="simple_white", width=1000, height=470, margin=dict(t=40, l=70, r=20, b=20))
    fig.update_layout(legend=dict(orientation="h", y=-0.22))
    return fig

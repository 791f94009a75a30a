"""Figures of leverage, connections, trust and features: hand values, hostile names, refusals, sentences."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pytest

from fusionbook import plots
from fusionbook.core import InputError, assert_array

EVIL = "<img src=x onerror=alert(1)>"
SVG = "<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'><path d='M0 0L9 9'/></svg>"
NAMES = ("gap", "log P", "dipole")


def masses(names=NAMES):
    b = len(names)
    mass = np.arange(1.0, b + 1)
    return pd.DataFrame(
        {
            "mass": mass,
            "low": mass - 0.4,
            "high": mass + 0.3,
            "share": mass / mass.sum(),
            "columns": np.full(b, 10),
            "expected": np.full(b, mass.mean()),
        },
        index=list(names),
    )


def scores(names=NAMES, width=3):
    rng = np.random.default_rng(0)
    b = len(names)
    return pd.DataFrame(
        {
            "column": np.arange(b * width),
            "block": np.repeat(list(names), width),
            "feature": np.tile(np.arange(width), b),
            "leverage": rng.uniform(size=b * width),
        }
    )


def curve(names=NAMES):
    values = np.outer([1, 2, 4, 8], np.arange(1.0, len(names) + 1))
    return pd.DataFrame(values, index=[1, 2, 4, 8], columns=list(names))


def square(names=NAMES):
    A = np.random.default_rng(1).uniform(0.1, 0.9, (len(names), len(names)))
    A = (A + A.T) / 2
    np.fill_diagonal(A, 1.0)
    return pd.DataFrame(A, index=list(names), columns=list(names))


def tidy(names=NAMES, **columns):
    A = square(names)
    rows = [{"source": a, "target": b, "value": A.at[a, b]} for a in names for b in names if a != b]
    return pd.DataFrame(rows).assign(**columns)


def removal(names=NAMES):
    return square(names).mask(np.eye(len(names), dtype=bool))


def selections():
    rows = []
    for how in ("leverage", "top", "greedy", "random"):
        for size in (2, 8):
            for seed in range(3 if how == "random" else 1):
                rows.append({"how": how, "n_columns": size, "seed": seed, "error": 1 / size + 0.1 * seed})
    return pd.DataFrame(rows).assign(optimal_error=0.05)


def places(names=NAMES):
    angle = 2 * np.pi * np.arange(len(names)) / len(names)
    return pd.DataFrame(
        {"name": list(names), "mass": np.arange(1.0, len(names) + 1), "x": np.cos(angle), "y": np.sin(angle)}
    )


def domain(parts=("train", "test")):
    return pd.DataFrame(
        {
            "leverage": [0.1, 0.2, 0.3, 0.6, np.nan],
            "residual": [0.5, -4.0, 1.0, np.nan, 1.0],
            "limit": 0.25,
            "part": [parts[0], parts[0], parts[1], parts[1], parts[1]],
        }
    )


def molecules(name="CCO"):
    value = [3.0, 2.0, -1.0]
    kind = ["most", "most", "least"]
    return pd.DataFrame({"svg": [SVG] * 3, "value": value, "kind": kind, "smiles": [name] * 3})


def correlated(name="rings"):
    kind = ["descriptor", "property", "property"]
    return pd.DataFrame(
        {"what": [name, "b", "c"], "kind": kind, "pearson": [0.2, -0.9, np.nan], "n": [40, 12, 1]}
    )


def importance(names=NAMES):
    size = np.arange(1.0, len(names) + 1)
    return pd.DataFrame({"block": list(names), "leverage": size, "importance": size[::-1]})


def new_figures(name):
    names = (name, "log P", "dipole")
    C = square(names)
    Y = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, np.nan]])
    both = tidy(names, low=0.2, high=0.9, floor=0.3, null=0.05, ceiling=0.95)
    how = selections().replace({"how": {"top": name}})
    return {
        "leverage_bars": plots.leverage_bars(masses(names), level=0.95),
        "feature_leverage": plots.feature_leverage(scores(names), kept=[1, 4]),
        "mass_curve": plots.mass_curve(curve(names), k=3),
        "removal_heatmap": plots.removal_heatmap(removal(names)),
        "scree": plots.scree(np.array([0.5, 0.3, 0.1]), k=2),
        "cur_error": plots.cur_error(how),
        "error_against_columns": plots.error_against_columns(how, title=name),
        "leverage_against_importance": plots.leverage_against_importance(importance(names), title=name),
        "by_feature": plots.leverage_against_importance(
            scores(names).assign(importance=0.5, feature=name), title=name
        ),
        "connection_heatmap": plots.connection_heatmap(both, measure=name),
        "connection_square": plots.connection_heatmap(C, measure=name),
        "connection_network": plots.connection_network(places(names), both, measure=name),
        "transfer_heatmap": plots.transfer_heatmap(C, C, n_test=dict.fromkeys(names, 12)),
        "williams": plots.williams(domain((name, "test"))),
        "parity_intervals": plots.parity_intervals(Y, Y, Y - 1, Y + 1, names, level=0.9),
        "feature_card": plots.feature_card(
            molecules(name), correlated(name), title=name, verdict=f"It follows {name}", note=name
        ),
    }


def named(fig, name):
    return next(trace for trace in fig.data if trace.name == name)


def test_bars_are_sorted_and_keep_the_colour_of_their_place():
    frame = masses().loc[["log P", "dipole", "gap"]]
    fig = plots.leverage_bars(frame, level=0.95)
    bar = named(fig, "mass")
    assert_array(bar.x, [1.0, 2.0, 3.0])
    assert fig.layout.yaxis.ticktext == ("gap", "log P", "dipole")
    assert list(bar.marker.color) == [plots.PALETTE[2], plots.PALETTE[0], plots.PALETTE[1]]
    assert_array(named(fig, "expected from its columns").x, [2.0, 2.0, 2.0])
    interval = next(trace for trace in fig.data if trace.type == "scatter" and len(trace.x) == 9)
    assert_array(interval.x, [0.6, 1.3, np.nan, 1.6, 2.3, np.nan, 2.6, 3.3, np.nan])
    assert any(trace.name == "95% interval" for trace in fig.data)
    assert [note.text for note in fig.layout.annotations] == ["17%", "33%", "50%"]


def test_bars_without_intervals_draw_none():
    fig = plots.leverage_bars(masses().assign(low=np.nan, high=np.nan))
    assert {trace.name for trace in fig.data} == {"mass", "expected from its columns"}


def test_more_than_six_blocks_differ_in_more_than_colour():
    names = [f"block {i}" for i in range(16)]
    bar = named(plots.leverage_bars(masses(names)), "mass")
    assert len(set(zip(bar.marker.color, bar.marker.pattern.shape))) == 16
    lines = plots.mass_curve(curve(names)).data
    assert len({(line.line.color, line.line.dash) for line in lines}) == 16
    points = plots.leverage_against_importance(importance(names)).data
    assert len({(point.marker.color, point.marker.symbol) for point in points}) == 16


def test_every_score_stands_in_its_block_sorted():
    frame = scores().sample(frac=1, random_state=0)
    fig = plots.feature_leverage(frame, kept=[0, 7])
    for name in NAMES:
        trace, own = named(fig, name), frame[frame["block"] == name].set_index("column")["leverage"]
        assert_array(trace.y, np.sort(own)[::-1])
        assert_array(own[trace.customdata[:, 0]].to_numpy(), trace.y)
    assert_array(np.sort(named(fig, "kept").y), np.sort(scores()["leverage"][[0, 7]]))
    everything = np.concatenate([np.asarray(named(fig, name).x) for name in NAMES])
    assert len(set(everything)) == 9
    assert_array(named(fig, "mean of all features").y, np.repeat(frame["leverage"].mean(), 2))


def test_mass_curve_draws_the_masses_and_names_each_line_once():
    fig = plots.mass_curve(curve(), k=3)
    for j, name in enumerate(NAMES):
        assert_array(named(fig, name).y, np.array([1, 2, 4, 8]) * (j + 1.0))
    texts = [note.text for note in fig.layout.annotations]
    assert [sum(name in text for text in texts) for name in NAMES] == [1, 1, 1]
    assert "k = 3" in texts
    share = plots.mass_curve(curve(), share=True)
    assert_array(named(share, "dipole").y, [3.0, 3.0, 3.0, 3.0])


def test_end_labels_do_not_cover_each_other():
    names = [f"block {i}" for i in range(16)]
    flat = pd.DataFrame(np.ones((3, 16)), index=[1, 2, 3], columns=names)
    fig = plots.mass_curve(flat)
    y = np.sort([note.y for note in fig.layout.annotations])
    low, high = fig.layout.yaxis.range
    pixels = np.diff(y) / (high - low) * (fig.layout.height - 90)
    assert pixels.min() > 15.9
    assert y.min() >= low - 1e-9 and y.max() <= high + 1e-9


def test_removal_keeps_sign_and_place():
    frame = pd.DataFrame([[np.nan, -0.2], [0.5, np.nan]], index=["a", "b"], columns=["a", "b"])
    heat = plots.removal_heatmap(frame).data[0]
    assert_array(heat.z, frame.to_numpy())
    assert (heat.zmin, heat.zmax) == (-0.5, 0.5)  # two-sided: a loss must not have the colour of no change
    assert heat.text[0][1] == "−0.20" and heat.text[0][0] == ""
    assert "without a<br>the mass of b<br>grows by 0.5" in heat.hovertext[1][0]


def test_scree_sums_up():
    fig = plots.scree([0.6, 0.3, 0.0], k=2)
    assert_array(fig.data[0].y, [0.6, 0.3, np.nan])  # no logarithm of zero
    assert_array(fig.data[1].y, [0.6, 0.9, 0.9])
    assert any("90.0%" in note.text for note in fig.layout.annotations)
    text = plots.describe(fig)
    assert "50% needs 1; 90% needs 2." in text and "95%" not in text
    assert "The chosen k = 2 holds 90.00%" in text


def test_error_lines_are_means_with_bands():
    fig = plots.cur_error(selections())
    random = next(trace for trace in fig.data if trace.name == "random" and "markers" in trace.mode)
    assert_array(random.y, [0.6, 0.225])
    band = next(trace for trace in fig.data if trace.name == "random" and trace.fill == "toself")
    assert_array(band.y, [0.7, 0.325, 0.125, 0.5])
    assert not [trace for trace in fig.data if trace.name == "top" and trace.fill]
    assert_array(named(fig, "smallest possible").y, [0.05, 0.05])


def test_all_columns_are_a_line_across():
    frame = pd.concat([selections(), pd.DataFrame({"how": ["all"], "n_columns": [900], "error": [0.02]})])
    fig = plots.error_against_columns(frame)
    line = named(fig, "all 900")
    assert_array(line.y, [0.02, 0.02])
    assert line.x[0] < 2 and line.x[1] > 8
    assert "all: 0.02 with 900 columns" in plots.describe(fig)


def test_importance_reports_the_rank_correlation():
    frame = pd.DataFrame(
        {"block": list("abcd"), "leverage": [1.0, 2, 3, 4], "importance": [10.0, 30, 20, 40]}
    )
    fig = plots.leverage_against_importance(frame)
    assert fig.layout.annotations[0].text == "rank correlation 0.80"
    assert [(trace.x[0], trace.y[0]) for trace in fig.data] == [(1, 10), (2, 30), (3, 20), (4, 40)]
    same = plots.leverage_against_importance(frame.assign(leverage=1.0))
    assert "rank correlation unknown" in plots.describe(same)


def test_heatmap_puts_close_spaces_side_by_side():
    rng = np.random.default_rng(0)
    names = [f"p{i}" for i in range(9)]
    group = rng.permutation(np.arange(9) % 3)
    A = pd.DataFrame(np.where(group[:, None] == group, 0.8, 0.1), index=names, columns=names)
    for closer, frame in ((True, A), (False, 1 - A)):
        fig = plots.connection_heatmap(frame, higher_is_closer=closer)
        order = [names.index(tick) for tick in fig.layout.xaxis.ticktext]
        assert (np.diff(group[order]) != 0).sum() == 2
        assert_array(fig.data[0].z, frame.to_numpy()[np.ix_(order, order)])
        assert fig.layout.yaxis.ticktext == fig.layout.xaxis.ticktext
    plain = plots.connection_heatmap(A, cluster=False)
    assert plain.layout.xaxis.ticktext == tuple(names)


@pytest.mark.parametrize("closer", [True, False])
def test_a_dot_marks_what_the_cautious_end_does_not_clear(closer):
    sign = 1 if closer else -1
    frame = pd.DataFrame({"source": ["a", "a", "b", "b", "c", "c"], "target": ["b", "c", "a", "c", "a", "b"]})
    value = np.array([0.9, 0.5, 0.9, 0.25, 0.5, 0.15])
    about = {"value": value, "low": value - 0.1, "high": value + 0.1, "floor": 0.3, "null": 0.2}
    if not closer:
        about = {name: 1 - np.asarray(one) for name, one in about.items()}
        about["low"], about["high"] = about["high"], about["low"]
    about["null"] = (
        np.array([0.2, 0.45, 0.2, 0.2, 0.2, 0.2]) if closer else 1 - np.array([0.2, 0.45, 0.2, 0.2, 0.2, 0.2])
    )
    fig = plots.connection_heatmap(frame.assign(**about), higher_is_closer=closer, cluster=False)
    dots = named(fig, "does not clear floor and null")
    cells = {(int(np.ceil(y)), int(np.floor(x))) for x, y in zip(dots.x, dots.y)}
    assert cells == {(0, 2), (1, 2), (2, 1)}  # a-c: 0.4 <= null; b-c and c-b: below the floor
    assert "3 of 6 directed pairs do not clear" in plots.describe(fig)
    assert sum("does not clear" in text for text in np.ravel(fig.data[0].hovertext)) == 3
    labels = [button.label for button in fig.layout.updatemenus[0].buttons]
    assert labels == [
        "value",
        "interval, lower end",
        "interval, upper end",
        "permutation null",
        "untrained floor",
    ]
    assert_array(fig.layout.updatemenus[0].buttons[1].args[0]["z"][0][0, 1], about["low"][0], rtol=1e-12)
    assert sign * (fig.data[0].z[0, 1] - fig.data[0].z[1, 2]) > 0


def test_numbers_are_written_only_where_cells_are_large_enough():
    for count, written in ((16, True), (17, False)):
        fig = plots.connection_heatmap(square([f"p{i}" for i in range(count)]))
        assert (fig.data[0].texttemplate is not None) == written


def arrows(fig):
    return [note for note in fig.layout.annotations if note.showarrow]


def test_network_draws_lines_where_symmetric_and_arrows_where_not():
    edges = tidy().query("value > 0")
    assert [note.arrowhead for note in arrows(plots.connection_network(places(), edges))] == [0, 0, 0]
    edges = edges.assign(value=np.linspace(0.1, 0.9, len(edges)))
    found = arrows(plots.connection_network(places(), edges))
    assert [note.arrowhead for note in found] == [2] * 6
    assert_array([note.arrowwidth for note in found], np.linspace(1.5, 7.0, 6))
    nodes = places().set_index("name")
    for note, (_, edge) in zip(found, edges.iterrows()):
        assert (note.ax, note.ay) == tuple(nodes.loc[edge["source"], ["x", "y"]])
        assert (note.x, note.y) == tuple(nodes.loc[edge["target"], ["x", "y"]])
    error = arrows(plots.connection_network(places(), edges, higher_is_closer=False))
    assert error[0].arrowwidth == 7.0  # a small error is a close connection
    once = plots.connection_network(places(), edges.iloc[:1], directed=False)
    assert arrows(once)[0].arrowhead == 0


def test_network_circles_have_the_area_of_the_mass():
    fig = plots.connection_network(places().assign(mass=[1.0, 4.0, 9.0]), tidy().iloc[:0])
    size = np.asarray(named(fig, "spaces").marker.size)
    assert_array((size - 12) / 34, [1 / 3, 2 / 3, 1.0])
    assert_array(named(fig, "spaces").x, places()["x"].to_numpy())
    assert fig.layout.yaxis.scaleanchor == "x"
    text = plots.describe(fig)
    assert "No connection clears" in text and "Without any connection: gap, log P, dipole." in text
    assert not arrows(fig)
    one = plots.connection_network(places(["gap"]).assign(mass=np.nan), tidy().iloc[:0])
    assert np.isfinite(one.layout.xaxis.range).all()


def test_network_describes_closest_first_and_the_lonely():
    edges = pd.DataFrame({"source": ["gap"], "target": ["dipole"], "value": [0.75]})
    text = plots.describe(plots.connection_network(places(), edges, measure="CKA", directed=False))
    assert "gap and dipole 0.75" in text
    assert "Without any connection: log P." in text
    assert "gap to dipole 0.75" in plots.describe(plots.connection_network(places(), edges))


def test_transfer_aligns_the_correlation_with_the_probes():
    R = pd.DataFrame([[0.9, -20.0, 0.1]], index=["gap"], columns=["dipole", "gap", "log P"])
    C = square()
    fig = plots.transfer_heatmap(R, C, n_test=pd.Series({"gap": 1234}))
    assert_array(fig.data[0].z, R.to_numpy())
    assert list(fig.data[0].text[0]) == ["0.90", "−20", "0.10"]
    assert_array(fig.data[1].z, C.loc[R.columns, R.columns].to_numpy())
    assert "1,234 molecules" in fig.data[0].hovertext[0][1] and "molecules" not in fig.data[0].hovertext[0][0]
    text = plots.describe(fig)
    assert "own space: dipole unknown, gap -20, log P unknown" in text
    assert f"dipole from gap 0.9 (the values correlate {C.at['dipole', 'gap']:.2f})" in text


def test_transfer_stacks_its_panels_when_there_are_many():
    few, many = (
        plots.transfer_heatmap(square(names), square(names)) for names in (NAMES, [f"p{i}" for i in range(5)])
    )
    assert few.layout.xaxis.domain[1] < few.layout.xaxis2.domain[0]
    assert many.layout.yaxis.domain[0] > many.layout.yaxis2.domain[1]


def test_williams_counts_what_lies_beyond():
    fig = plots.williams(domain(), ids=[9, 8, 7, 6, 5])
    assert_array(named(fig, "train").y, [0.5, -4.0])
    assert_array(named(fig, "test").customdata, [7])
    assert all(trace.meta == "molecule" for trace in fig.data)
    text = plots.describe(fig)
    assert "train: 2 molecules, 0 beyond the leverage limit of 0.25, 1 with a residual beyond 3" in text
    assert "test: 1 molecules, 1 beyond" in text
    assert "2 molecules without residual or leverage" in text
    lines = {(shape.x0, shape.y0) for shape in fig.layout.shapes}
    assert {(0.25, 0), (0, 3), (0, -3)} <= lines


def test_williams_draws_few_but_counts_all_and_orders_the_parts():
    frame = pd.DataFrame(
        {"leverage": 0.1, "residual": 0.0, "limit": 0.5, "part": np.repeat(["test", "valid", "train"], 50)}
    )
    fig = plots.williams(frame, max_points=7)
    assert [(trace.name, len(trace.x)) for trace in fig.data] == [("train", 7), ("valid", 7), ("test", 7)]
    assert "train: 50 molecules" in plots.describe(fig)


def test_intervals_count_coverage_over_all_rows():
    n = 400
    Y = np.linspace(0, 1, n)[:, None]
    inside = np.arange(n)[:, None] % 4 != 0
    low = np.where(inside, Y - 0.1, Y + 0.1)
    gone = Y.copy()
    gone[:200] = np.nan
    low = np.hstack([low, low])
    fig = plots.parity_intervals(
        np.hstack([Y, gone]), np.hstack([Y, Y]), low, low + 0.3, ["a", "b"], level=0.8, max_points=20
    )
    assert "covers 75% of 400" in fig.layout.annotations[0].text
    assert "covers 75% of 200" in fig.layout.annotations[1].text
    assert "(asked: 80%): a 75.0%, b 75.0%" in plots.describe(fig)
    points = [trace for trace in fig.data if trace.meta == "molecule" and trace.xaxis == "x"]
    assert sum(len(trace.x) for trace in points) == 20
    for trace in points:
        rows = np.asarray(trace.customdata)
        assert_array(trace.x, Y[rows, 0])
        assert (inside[rows, 0] == (trace.name == "covered")).all()


def test_infinite_intervals_prove_nothing():
    Y = np.array([[1.0], [2.0]])
    fig = plots.parity_intervals(Y, Y, np.full((2, 1), -np.inf), np.full((2, 1), np.inf), ["a"])
    assert "nothing to compare" in fig.layout.annotations[0].text
    assert "a unknown" in plots.describe(fig)


def test_card_places_images_and_the_strongest_correlations():
    fig = plots.feature_card(molecules(), correlated(), title="gap, feature 3", verdict="Follows b.")
    assert len(fig.layout.images) == 3
    assert all(image.source.startswith("data:image/svg+xml;base64,") for image in fig.layout.images)
    assert_array(named(fig, "property").x, [-0.9])
    assert_array(named(fig, "descriptor").x, [0.2])
    texts = [note.text for note in fig.layout.annotations]
    assert {"3", "2", "−1", "highest values", "lowest values", "b −0.90", "rings 0.20"} <= set(texts)
    boxes = [(shape.x0, shape.y0, shape.x1, shape.y1) for shape in fig.layout.shapes]
    assert all(0 <= a < c <= 1 and 0 <= b < d <= 1 for a, b, c, d in boxes)
    (a, b, c), height = boxes, fig.layout.height - fig.layout.margin.t - fig.layout.margin.b
    assert (
        a[1] == c[1] and b[3] < a[1]
    )  # the lowest value stands beside the highest, the second highest below
    assert a[2] < c[0]
    assert all(
        576 * (x1 - x0) > 280 and height * (y1 - y0) > 230 for x0, y0, x1, y1 in boxes
    )  # pixels at width 600
    assert fig.layout.yaxis.domain[1] < min(y0 for _, y0, _, _ in boxes)  # bars below all pictures
    text = plots.describe(fig)
    assert "Highest values: CCO 3, CCO 2. Lowest values: CCO -1." in text
    assert "b -0.90 (12 molecules), rings 0.20 (40 molecules)" in text


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_card_never_puts_more_than_two_pictures_in_a_row_nor_one_on_another(n):
    frame = pd.concat([molecules().iloc[:1]] * n, ignore_index=True)
    for kinds in (["most"] * n, ["most"] * (n - n // 3) + ["least"] * (n // 3)):
        fig = plots.feature_card(frame.assign(kind=kinds), correlated(), note="orange raises, blue lowers")
        boxes = sorted((-round(box.y1, 6), box.x0, box.x1, box.y0) for box in fig.layout.shapes)
        assert len(boxes) == len(fig.layout.images) == sum(min(kinds.count(one), 6) for one in set(kinds))
        assert max(np.unique([top for top, *_ in boxes], return_counts=True)[1]) <= 2
        for (top, x0, _, y0), (top2, x2, _, _) in zip(boxes, boxes[1:]):
            assert x2 > x0 + 0.49 if top == top2 else -top2 < y0
        assert min(box[3] for box in boxes) > fig.layout.yaxis.domain[1] > 0


def test_card_needs_no_correlations_and_no_kind():
    fig = plots.feature_card(molecules().drop(columns=["kind", "smiles"]))
    assert len(fig.layout.images) == 3
    assert "molecule 1 3, molecule 2 2, molecule 3 -1" in plots.describe(fig)
    assert plots.feature_card(molecules(), correlated().iloc[:0]).layout.images


@pytest.mark.parametrize("name", [EVIL, "%{customdata}", "a" * 300, "<a href='javascript:alert(1)'>b</a>"])
def test_hostile_names_are_text_in_every_figure(name):
    for kind, fig in new_figures(name).items():
        drawn = json.loads(fig.to_json())
        about = drawn["layout"].pop("meta")
        assert name not in json.dumps(drawn, ensure_ascii=False), kind
        assert "a" * 300 not in about["description"], kind
        for text in strings(drawn):
            assert not re.search(r"<\s*(img|a|script)\b", text, re.I), (kind, text)


def strings(part):
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for one in part.values():
            yield from strings(one)
    elif isinstance(part, list):
        for one in part:
            yield from strings(one)


def test_every_figure_describes_itself_and_is_valid_json():
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    for kind, fig in new_figures("gap").items():
        text = plots.describe(fig)
        assert len(text) > 60 and re.search(r"\d", text) and "\n" not in text, kind
        assert "nan" not in text.lower() and "left no description" not in text, (kind, text)
        json.loads(fig.to_json(), parse_constant=refuse)
        assert fig.layout.template.layout.colorway == pio.templates["fusionbook"].layout.colorway
        assert plots.describe(pio.from_json(fig.to_json())) == text


def test_dark_template_changes_letters_and_paper_only():
    light, dark = (
        pio.templates[name].to_plotly_json()["layout"] for name in ("fusionbook", "fusionbook dark")
    )
    assert (
        dark["font"]["family"] == light["font"]["family"] and dark["font"]["color"] != light["font"]["color"]
    )
    assert dark["paper_bgcolor"] != light["paper_bgcolor"] == "#ffffff"
    assert {key for key in light if light[key] != dark[key]} == {"font", "paper_bgcolor"}


def test_no_letters_of_a_fixed_colour_on_the_page():
    """Text outside coloured cells takes the page's colour, so that it is seen on dark paper too."""
    for kind, fig in new_figures("gap").items():
        for note in fig.layout.annotations:
            assert note.font.color is None, kind
        for trace in fig.data:
            if trace.type == "scatter":
                assert trace.textfont.color is None, kind


def test_other_figures_get_an_honest_description():
    bars = go.Bar(x=["a", "b"], y=[1, 4])
    line = go.Scatter(x=[0, 2], y=[-1, np.nan], name="<b>loss</b> &amp; more")
    fig = go.Figure([line, bars, bars], layout=dict(title=dict(text="A <i>title</i>")))
    text = plots.describe(fig)
    assert "titled 'A title'" in text
    assert "scatter (1), bar (2)" in text
    assert "The x axis runs from 0 to 2. The y axis runs from -1 to 4." in text
    assert "loss & more" in text and "left no description" in text
    assert "has no numbers" in plots.describe(go.Figure())
    assert "left no description" in plots.describe(go.Figure(layout=dict(meta="%{x}")))


@pytest.mark.parametrize("count", [1, 2, 16, 40])
def test_one_block_and_many(count):
    names = ["a property with a name of forty letters " + str(i) for i in range(count)]
    plots.leverage_bars(masses(names))
    plots.feature_leverage(scores(names, width=1))
    plots.mass_curve(curve(names))
    plots.removal_heatmap(removal(names))
    plots.leverage_against_importance(importance(names))
    plots.connection_heatmap(square(names))
    plots.connection_network(places(names), tidy(names) if count > 1 else tidy(("a", "b")).iloc[:0])
    plots.transfer_heatmap(square(names), square(names))


def test_frames_are_not_edited():
    frames = [masses(), scores(), curve(), removal(), selections(), importance(), tidy(), places(), domain()]
    before = [frame.copy() for frame in frames]
    plots.leverage_bars(frames[0])
    plots.feature_leverage(frames[1])
    plots.mass_curve(frames[2], share=True)
    plots.removal_heatmap(frames[3])
    plots.cur_error(frames[4])
    plots.leverage_against_importance(frames[5])
    plots.connection_heatmap(frames[6])
    plots.connection_network(frames[7], frames[6])
    plots.williams(frames[8])
    for frame, old in zip(frames, before):
        pd.testing.assert_frame_equal(frame, old)


def test_plots_need_no_torch():
    code = "import sys, fusionbook.plots; print([m for m in ('torch', 'rdkit', 'ipywidgets') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


Y2 = np.ones((2, 1))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.describe({"data": []}), "`fig` must be a plotly figure; got dict"),
        (lambda: plots.leverage_bars([1.0]), "`frame` must be a pandas DataFrame; got list"),
        (lambda: plots.leverage_bars(masses().rename(columns={"mass": "Mass"})), "Did you mean 'Mass'?"),
        (lambda: plots.leverage_bars(masses().iloc[:0]), "`frame` has no row"),
        (lambda: plots.leverage_bars(masses(("a", "a"))), "holds the name 'a' twice"),
        (lambda: plots.leverage_bars(masses().assign(mass=np.nan)), "must hold numbers; row 0 holds 'nan'"),
        (
            lambda: plots.leverage_bars(masses().assign(low="x")),
            "`frame['low']` must hold numbers; row 0 holds 'x'",
        ),
        (lambda: plots.feature_leverage(scores(), kept=[77]), "`kept` names column 77"),
        (lambda: plots.feature_leverage(scores().drop(columns="block")), "column of `scores` 'block'"),
        (lambda: plots.mass_curve(curve().iloc[::-1]), "positive and rising"),
        (lambda: plots.mass_curve(curve()[[]]), "needs a column a block"),
        (lambda: plots.mass_curve(curve(), k=0), "`k` must be a number from 1"),
        (
            lambda: plots.removal_heatmap(removal()[["log P", "gap", "dipole"]]),
            "the same names in rows and columns",
        ),
        (lambda: plots.scree([[0.5]]), "`explained` must have shape (any,)"),
        (lambda: plots.scree([0.9, 0.9]), "at most 1 in sum"),
        (lambda: plots.scree([]), "finite, not negative"),
        (lambda: plots.scree([0.5, 0.5], k=3), "`k` must be a whole number from 1 to 2"),
        (
            lambda: plots.cur_error(selections().drop(columns="optimal_error")),
            "column of `frame` 'optimal_error'",
        ),
        (lambda: plots.cur_error(selections().assign(error=np.inf)), "`frame['error']` must hold numbers"),
        (lambda: plots.error_against_columns(selections().drop(columns="how")), "column of `frame` 'how'"),
        (lambda: plots.leverage_against_importance(importance(("a", "a"))), "holds the name 'a' twice"),
        (lambda: plots.connection_heatmap(pd.concat([tidy(), tidy()])), "the pair 'gap' to 'log P' twice"),
        (lambda: plots.connection_heatmap(tidy().drop(columns="value")), "column of `frame` 'value'"),
        (lambda: plots.connection_network(places(("a", "b")), tidy()), "There is no node 'gap'"),
        (lambda: plots.connection_network(places(), None), "`edges` must be a pandas DataFrame"),
        (lambda: plots.connection_network(places(), pd.concat([tidy(), tidy()])), "('gap', 'log P') twice"),
        (
            lambda: plots.connection_network(places().assign(x=np.nan), tidy()),
            "`nodes['x']` must hold numbers",
        ),
        (lambda: plots.transfer_heatmap(square(("a", "b")), square()), "property of `correlation` 'a'"),
        (lambda: plots.williams(domain().assign(limit=[1, 2, 3, 4, 5])), "must be one value for all rows"),
        (lambda: plots.williams(domain(), ids=[1]), "`ids` must have shape (5,)"),
        (
            lambda: plots.parity_intervals(Y2, np.ones((2, 2)), Y2, Y2, ["a"]),
            "`Y_hat` must have shape (2, 1)",
        ),
        (lambda: plots.parity_intervals(Y2, Y2, 2 * Y2, Y2, ["a"]), "look at row 0 of 'a'"),
        (lambda: plots.parity_intervals(Y2, Y2, Y2, Y2, ["a", "b"]), "`names` must hold 1 names"),
        (lambda: plots.feature_card(molecules().assign(svg=EVIL)), "must hold SVG drawings"),
        (
            lambda: plots.feature_card(molecules().assign(svg="<svg><script>1</script></svg>")),
            "without scripts",
        ),
        (lambda: plots.feature_card(molecules().assign(kind="top")), "There is no choice"),
        (
            lambda: plots.feature_card(molecules(), correlated().assign(pearson=1.5)),
            "between -1 and 1; got 1.5",
        ),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(InputError) as caught:
        draw()
    assert message in str(caught.value)


def test_a_still_figure_has_the_choice_of_its_menu_in_words_and_leaves_the_figure_alone():
    xy = np.arange(6.0).reshape(3, 2)
    fig = plots.embedding_map(xy, np.eye(3)[:, :2], ["gap (eV)", "a<b"])
    before = fig.to_json()
    made = plots.still(fig)
    assert fig.to_json() == before and len(fig.layout.updatemenus) == 1
    assert not made.layout.updatemenus
    assert "property: gap (eV)" in [note.text for note in made.layout.annotations]
    assert plots.describe(made) == plots.describe(fig)
    fig.layout.updatemenus[0].active = 1
    assert "property: a&lt;b" in [note.text for note in plots.still(fig).layout.annotations]
    parity = plots.parity(np.eye(3), {"ST": np.eye(3), "F-MT": np.eye(3)}, list("abc"))
    assert "model: F-MT" in [note.text for note in plots.still(parity).layout.annotations]
    plain = go.Figure(go.Scatter(x=[0, 1], y=[1, 2]))
    assert plots.still(plain) == plain
    with pytest.raises(InputError, match="must be a plotly figure"):
        plots.still("figure")


def luminance(color):
    part = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    part = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(part @ [0.2126, 0.7152, 0.0722])


def test_the_map_scale_rises_in_lightness_and_its_dark_end_is_seen_on_the_dark_page():
    shades = [luminance(color) for _, color in plots.MAP_SCALE]
    assert (np.diff(shades) > 0.03).all()
    page = luminance(pio.templates["fusionbook dark"].layout.paper_bgcolor)
    assert (shades[0] + 0.05) / (page + 0.05) >= 3  # WCAG contrast of graphics


def test_stacked_transfer_panels_leave_room_for_their_slanted_names_only():
    def gap(names):
        frame = pd.DataFrame(np.eye(5), index=names, columns=names)
        fig = plots.transfer_heatmap(frame, frame)
        height = fig.layout.height - fig.layout.margin.t - 48
        return height * (fig.layout.yaxis.domain[0] - fig.layout.yaxis2.domain[1])

    assert gap(list("abcde")) >= 90  # the lower panel's title and colour bar
    assert gap([letter * 30 for letter in "abcde"]) > gap(list("abcde")) + 80  # 18 letters, slanted


def test_names_of_blocks_go_into_a_legend_where_they_would_cover_each_other():
    frame = pd.DataFrame({"block": [f"property {i}" for i in range(12)], "leverage": 1.0, "importance": 0.1})
    crowd = plots.leverage_against_importance(frame)
    assert crowd.layout.showlegend and {trace.mode for trace in crowd.data} == {"markers"}
    assert len({(trace.marker.color, trace.marker.symbol) for trace in crowd.data}) == 12
    frame["leverage"] = np.arange(12) % 3
    frame["importance"] = np.arange(12) // 3
    wide = plots.leverage_against_importance(frame)
    assert not wide.layout.showlegend and {trace.mode for trace in wide.data} == {"markers+text"}

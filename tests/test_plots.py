"""Figures: their data equal their inputs, names from tables are never markup, nothing leaves the machine."""

import copy
import json

import numpy as np
import pandas as pd
import plotly.io as pio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionbook import plots
from fusionbook.core import InputError, assert_array

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def sparse():
    rng = np.random.default_rng(3)
    Y = rng.normal(size=(40, 4)) @ rng.normal(size=(4, 4)) * [1, 10, 0.1, 5] + [0, 100, -1, 3]
    Y[rng.uniform(size=Y.shape) < 0.4] = np.nan
    return Y


def compared(models=("mean", "ST", "F-MT"), tasks=("gap", "logP", "mp")):
    rows = []
    for j, task in enumerate(tasks):
        for i, model in enumerate(models):
            error = 0.8 / (i + 1) / (j + 1)
            labels = {"n_train": 10 * 3**j, "n_valid": 5, "n_test": 40}
            rows.append(
                {"task": task, "unit": "eV", "model": model, "MAE": 3 * error, "MAE / sd": error} | labels
            )
    return pd.DataFrame(rows)


def all_figures(name, Y):
    frame = pd.DataFrame({"step": [1, 2], "train loss": [1.0, 0.5], name: [1.0, 0.4]})
    names = [name, "b", "c", "d"]
    xy = np.random.default_rng(0).normal(size=(len(Y), 2))
    smiles = [name] * len(Y)
    table = compared(models=("ST", name), tasks=(name, "b"))
    return [
        plots.label_coverage(~np.isnan(Y), names),
        plots.property_correlation(Y, names),
        plots.property_overlap(~np.isnan(Y), names),
        plots.learning_curves({name: [frame]}),
        plots.parity(Y, {"ST": Y, name: Y + 1}, names, smiles=smiles),
        plots.error_by_task(table.assign(unit=name)),
        plots.error_against_labels(table, name),
        plots.embedding_map(xy, Y, names, smiles=smiles, axes=(name, name)),
    ]


def test_label_coverage_counts_every_label_once(sparse):
    parts = np.array(["train", "valid", "test", "train"] * 10)
    fig = plots.label_coverage(~np.isnan(sparse), list("abcd"), parts)
    by_task = [trace for trace in fig.data if trace.orientation == "h"]
    order = [list("abcd").index(tick) for tick in fig.layout.yaxis.ticktext]
    counts = (~np.isnan(sparse)).sum(axis=0)
    assert_array(sum(np.asarray(trace.x) for trace in by_task), counts[order])
    assert (np.diff(counts[order]) >= 0).all()
    train = next(trace for trace in by_task if trace.name == "train")
    assert_array(train.x, (~np.isnan(sparse[parts == "train"])).sum(axis=0)[order])
    per_molecule = sum(np.asarray(trace.y) for trace in fig.data if trace.orientation != "h")
    assert_array(per_molecule, np.bincount((~np.isnan(sparse)).sum(axis=1), minlength=5))


def test_label_coverage_draws_molecules_in_no_part():
    parts = np.repeat(["train", "test", ""], [5, 2, 3])
    fig = plots.label_coverage(np.ones((10, 1), dtype=bool), ["a"], parts)
    drawn = {trace.name: trace.x[0] for trace in fig.data if trace.orientation == "h"}
    assert drawn == {"train": 5, "test": 2, "no part": 3}


def test_correlation_equals_numpy_pair_by_pair(sparse):
    fig = plots.property_correlation(sparse, list("abcd"))
    for i in range(4):
        for j in range(4):
            both = ~np.isnan(sparse[:, i]) & ~np.isnan(sparse[:, j])
            expected = np.corrcoef(sparse[both, i], sparse[both, j])[0, 1]
            assert fig.data[0].z[i][j] == pytest.approx(expected, abs=1e-12)
            assert fig.data[0].customdata[i][j] == both.sum()


def test_overlap_counts_molecules_pair_by_pair(sparse):
    fig = plots.property_overlap(~np.isnan(sparse), list("abcd"))
    for i in range(4):
        for j in range(4):
            both = (~np.isnan(sparse[:, i]) & ~np.isnan(sparse[:, j])).sum()
            assert fig.data[0].z[i][j] == both and fig.data[0].text[i][j] == str(both)
    many = np.ones((1500, 2), dtype=bool)
    assert plots.property_overlap(many, ["a", "b"]).data[0].text[0][1] == "1.5k"


def test_correlation_of_constant_or_disjoint_columns_is_left_out():
    Y = np.array(
        [[1.0, 5, np.nan], [2, 5, np.nan], [3, 5, np.nan], [np.nan, 5, 1], [np.nan, 5, 2], [np.nan, 5, 4]]
    )
    z = plots.property_correlation(Y, list("abc")).data[0].z
    assert np.isnan(z[0][1]) and np.isnan(z[1][1]) and np.isnan(z[0][2])
    assert z[0][0] == pytest.approx(1)


def test_learning_curves_draw_the_losses_and_mark_the_lowest():
    st_frame = pd.DataFrame({"step": [5, 10, 15], "train loss": [1, 0.5, 0.2], "gap": [0.9, 0.2, 0.3]})
    mt_frame = pd.DataFrame({"step": [7, 14], "train loss": [1, 0.5], "gap": [0.8, 0.7], "mp": [0.6, 0.5]})
    fig = plots.learning_curves({"ST": [st_frame], "MT": [mt_frame]})
    lines = {(trace.name, trace.xaxis): trace for trace in fig.data if trace.mode == "lines"}
    dots = {(trace.name, trace.xaxis): trace for trace in fig.data if trace.mode == "markers"}
    assert_array(lines["ST", "x"].x, [5, 10, 15])
    assert_array(lines["ST", "x"].y, [0.9, 0.2, 0.3])
    assert_array(lines["MT", "x2"].y, [0.6, 0.5])
    assert_array(dots["ST", "x"].x, [10])
    assert_array(dots["MT", "x"].y, [0.7])
    assert sum(bool(trace.showlegend) for trace in fig.data) == 2
    assert [one.text for one in fig.layout.annotations[:2]] == ["gap", "mp"]


def test_learning_curves_survive_missing_losses():
    frame = pd.DataFrame({"step": [1, 2], "train loss": [1.0, 1.0], "gap": [np.nan, np.nan]})
    fig = plots.learning_curves({"ST": [frame]})
    assert len(fig.data) == 1


def test_parity_shows_measured_rows_only_with_their_error(sparse):
    predictions = {"mean": np.tile(np.nanmean(sparse, axis=0), (40, 1)), "F-MT": np.nan_to_num(sparse) + 0.5}
    fig = plots.parity(sparse, predictions, ["a (eV)", "b", "c", "d"], ids=np.arange(40) + 100)
    for j in range(4):
        axis = "x" if j == 0 else f"x{j + 1}"
        known = np.flatnonzero(~np.isnan(sparse[:, j]))
        for model, Y_hat in predictions.items():
            trace = next(one for one in fig.data if one.name == model and one.xaxis == axis)
            assert_array(trace.x, sparse[known, j])
            assert_array(trace.y, Y_hat[known, j])
            assert_array(trace.customdata, known + 100)
            assert trace.visible == (model == "F-MT")
    assert "MAE 0.5" in fig.layout.annotations[0].text
    button = fig.layout.updatemenus[0].buttons[0]
    known = ~np.isnan(sparse[:, 0])
    mae = np.abs(predictions["mean"] - sparse)[known, 0].mean()
    assert f"MAE {mae:.3g}" in button.args[1]["annotations[0].text"]
    visible = [trace.name for trace, shown in zip(fig.data, button.args[0]["visible"]) if shown]
    assert set(visible) == {None, "mean"}


def test_parity_draws_few_points_but_counts_all():
    Y = np.arange(50.0)[:, None]
    fig = plots.parity(Y, {"ST": Y + np.where(Y < 25, 0, 2)}, ["a"], max_points=7)
    points = next(trace for trace in fig.data if trace.name == "ST")
    assert len(points.x) == 7
    assert "MAE 1" in fig.layout.annotations[0].text


def test_parity_of_a_task_without_test_labels_says_so():
    Y = np.array([[1.0, np.nan], [2.0, np.nan]])
    fig = plots.parity(Y, {"ST": np.ones((2, 2))}, ["a", "b"])
    assert "no test label" in fig.layout.annotations[1].text


def test_error_by_task_puts_the_poorest_property_on_top():
    frame = compared()
    fig = plots.error_by_task(frame)
    place = {tick.split(" ")[0]: i for i, tick in enumerate(fig.layout.yaxis.ticktext)}
    assert place == {"mp": 0, "logP": 1, "gap": 2}
    for model in ("mean", "ST", "F-MT"):
        trace = next(one for one in fig.data if one.name == model)
        own = frame[frame["model"] == model]
        assert_array(trace.x, own["MAE / sd"].to_numpy())
        assert_array(trace.y, [place[task] for task in own["task"]])
    low, high = fig.layout.xaxis.range
    assert 10**low < frame["MAE / sd"].min() and 10**high > frame["MAE / sd"].max()


def test_error_against_labels_divides_by_the_reference():
    fig = plots.error_against_labels(compared(), "ST")
    assert {trace.name for trace in fig.data} == {"mean", "F-MT"}
    fused = next(trace for trace in fig.data if trace.name == "F-MT")
    assert dict(zip(fused.text, fused.x)) == {"gap": 10, "logP": 30, "mp": 90}
    assert_array(fused.y, np.full(3, 2 / 3))
    plain = plots.error_against_labels(compared())
    mean = next(trace for trace in plain.data if trace.name == "mean")
    assert_array(mean.y, [0.8, 0.4, 0.8 / 3])


def test_embedding_map_colours_measured_and_greys_the_rest(sparse):
    xy = np.random.default_rng(0).normal(size=(40, 2))
    fig = plots.embedding_map(xy, sparse, list("abcd"), ids=np.arange(40) * 2)
    for j in range(4):
        grey, colored = fig.data[2 * j], fig.data[2 * j + 1]
        known = ~np.isnan(sparse[:, j])
        assert_array(colored.x, xy[known, 0])
        assert_array(colored.marker.color, sparse[known, j])
        assert_array(colored.customdata, 2 * np.flatnonzero(known))
        assert_array(grey.y, xy[~known, 1])
        assert isinstance(grey.marker.color, str)
        assert [trace.visible for trace in (grey, colored)] == [j == 0] * 2
        shown = fig.layout.updatemenus[0].buttons[j].args[0]["visible"]
        assert [i for i, one in enumerate(shown) if one] == [2 * j, 2 * j + 1]
    low, high = np.nanpercentile(sparse[:, 0], [2, 98])
    assert (fig.data[1].marker.cmin, fig.data[1].marker.cmax) == pytest.approx((low, high))


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_label_text_has_no_markup_and_no_template(text):
    shown = plots.label_text(text)
    assert not set("<>{$") & set(shown)
    assert "%{" not in shown


@pytest.mark.parametrize("name", [EVIL, "%{meta}", "a" * 300])
def test_no_name_from_a_table_reaches_a_figure_as_markup(sparse, name):
    for fig in all_figures(name, sparse):
        drawn = json.loads(fig.to_json())
        about = drawn["layout"].pop("meta")  # the sentence for describe is text, not markup
        assert name not in json.dumps(drawn, ensure_ascii=False)
        assert list(about) == ["description"] and "a" * 61 not in about["description"]


def test_each_figure_says_its_numbers(sparse):
    known = ~np.isnan(sparse)
    coverage, correlation, overlap, curves, parity, errors, labels, mapped = map(
        plots.describe, all_figures("gap", sparse)
    )
    assert f"{known.sum()} of the 160 values" in coverage
    fewest = int(np.argsort(known.sum(axis=0), kind="stable")[0])
    assert f"fewest first: {['gap', 'b', 'c', 'd'][fewest]} {known.sum(axis=0)[fewest]}" in coverage
    R = pd.DataFrame(sparse).corr().to_numpy() - np.eye(4)
    i, j = np.unravel_index(np.nanargmax(np.abs(R)), R.shape)
    assert f"{R[i, j]:.2f} ({(known[:, i] & known[:, j]).sum()} molecules)" in correlation.split(",")[1]
    pairs = {(i, j): (known[:, i] & known[:, j]).sum() for i in range(4) for j in range(i)}
    assert overlap.split("Fewest: ")[1].split(",")[0].endswith(f" {min(pairs.values())}")
    assert "gap with gap 0.4 at step 2" in curves
    assert "Mean absolute error of ST: gap 0, b 0" in parity and "of gap: gap 1, b 1, c 1, d 1" in parity
    assert "Mean over the properties: ST 0.6, gap 0.3. " in errors
    assert "errs least: gap 2." in errors
    assert "ST: median 2, 2 with the fewest labels and 2 with the most." in labels
    low, high = np.nanmin(sparse[:, 0]), np.nanmax(sparse[:, 0])
    assert f"gap {known[:, 0].sum()} measured, {low:.4g} to {high:.4g}" in mapped


def test_a_value_that_does_not_exist_is_called_unknown():
    Y = np.array([[1.0, np.nan], [2.0, np.nan]])
    text = plots.describe(plots.parity(Y, {"ST": np.ones((2, 2))}, ["a", "b"]))
    assert "a 0.5, b unknown" in text
    empty = plots.embedding_map(np.zeros((2, 2)), np.full((2, 1), np.nan), ["gap"])
    assert "gap 0 measured." in plots.describe(empty)


def test_map_without_a_property_still_draws_the_molecules():
    fig = plots.embedding_map(np.eye(2), np.empty((2, 0)), [], ids=[4, 7])
    assert_array(fig.data[0].x, [1.0, 0.0])
    assert_array(fig.data[0].customdata, [4, 7])


def test_map_counts_the_measured_and_follows_the_menu(sparse):
    xy = np.random.default_rng(0).normal(size=(40, 2))
    fig = plots.embedding_map(xy, sparse, list("abcd"))
    counts = (~np.isnan(sparse)).sum(axis=0)
    assert fig.layout.annotations[0].text.startswith(f"a: {counts[0]} of 40 measured")
    text = fig.layout.updatemenus[0].buttons[2].args[1]["annotations[0].text"]
    assert text.startswith(f"c: {counts[2]} of 40")


def test_inputs_are_not_edited(sparse):
    frame = compared()
    before = sparse.copy(), copy.deepcopy(frame)
    all_figures("a", sparse)
    plots.error_by_task(frame)
    plots.error_against_labels(frame, "ST")
    assert_array(sparse, before[0])
    pd.testing.assert_frame_equal(frame, before[1])


def test_figures_offer_no_upload_and_share_one_template(sparse):
    for fig in all_figures("a", sparse):
        assert "sendChartToCloud" in fig.layout.template.layout.modebar.remove
        assert fig.layout.template.layout.colorway == pio.templates["fusionbook"].layout.colorway
        assert fig.layout.height > 0 and fig.layout.width is None
    assert plots.CONFIG["showSendToCloud"] is False
    assert plots.CONFIG["plotlyServerURL"] == ""


def test_figures_are_valid_json(sparse):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    for fig in all_figures("a", sparse):
        json.loads(fig.to_json(), parse_constant=refuse)


def test_many_tasks_and_a_single_one():
    Y = np.random.default_rng(0).normal(size=(10, 40))
    names = [f"property {j}" for j in range(40)]
    for width in (1, 2, 40):
        part = Y[:, :width]
        fig = plots.parity(part, {"ST": part}, names[:width])
        assert len([trace for trace in fig.data if trace.name == "ST"]) == width
        plots.property_correlation(part, names[:width])
        plots.property_overlap(~np.isnan(part), names[:width])
        plots.label_coverage(~np.isnan(part), names[:width])
        frame = pd.DataFrame(part, columns=names[:width]).assign(step=range(10))
        plots.learning_curves({"MT": [frame]})


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.label_coverage(np.ones((3, 2)), ["a"]), "`names` must hold 2 names"),
        (lambda: plots.label_coverage(np.ones(3), ["a"]), "`mask` must have shape"),
        (lambda: plots.label_coverage(np.ones((3, 1)), ["a"], ["train"]), "`parts` must have shape"),
        (lambda: plots.property_correlation(np.ones((3, 2)), "ab"), "`names` must hold 2 names"),
        (lambda: plots.property_overlap(np.ones((3, 2)), ["a"]), "`names` must hold 2 names"),
        (lambda: plots.learning_curves({}), "holds no history"),
        (lambda: plots.learning_curves({"ST": [pd.DataFrame({"steps": [1]})]}), "Did you mean 'steps'?"),
        (lambda: plots.parity(np.ones((3, 1)), {}, ["a"]), "holds no model"),
        (lambda: plots.parity(np.ones((3, 1)), {"ST": np.ones((3, 2))}, ["a"]), "must have shape (3, 1)"),
        (
            lambda: plots.parity(np.ones((3, 1)), {"ST": np.ones((3, 1))}, ["a"], smiles=["C"]),
            "must hold 3 names",
        ),
        (lambda: plots.parity(np.ones((3, 1)), {"ST": np.ones((3, 1))}, ["a"], max_points=0), "max_points"),
        (lambda: plots.error_by_task(compared().drop(columns="MAE")), "Did you mean 'MAE / sd'?"),
        (lambda: plots.error_by_task(pd.concat([compared(), compared()])), "holds model 'mean' twice"),
        (lambda: plots.error_against_labels(compared(), "FMT"), "Did you mean 'F-MT'?"),
        (
            lambda: plots.embedding_map(np.ones((3, 3)), np.ones((3, 1)), ["a"]),
            "`coordinates` must have shape",
        ),
        (lambda: plots.embedding_map([[np.inf, 0]], np.ones((1, 1)), ["a"]), "must be finite; look at row 0"),
        (
            lambda: plots.embedding_map(np.ones((3, 2)), np.ones((2, 1)), ["a"]),
            "`Y` must have shape (3, any)",
        ),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(InputError) as caught:
        draw()
    assert message in str(caught.value)

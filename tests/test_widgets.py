"""The views without a browser: every trait, every callback, hostile names, and the states in which nothing can be shown."""

import copy
import json
import re
import subprocess
import sys
import threading
import time
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.basedatatypes import Undefined

from fusionbook import widgets
from fusionbook.core import InputError
from fusionbook.cur import select_columns
from fusionbook.datasets import load_xtb
from fusionbook.embeddings import EmbeddingBlocks, fit_block_scaler
from fusionbook.explain import applicability_domain
from fusionbook.fusion import FusedMultiTask, MultiTask, SingleTask, encoders_to_fuse
from fusionbook.molecules import MoleculeTable, Split, Task, split_molecules
from fusionbook.training import TrainConfig
from fusionbook.widgets import (
    ConnectionExplorer,
    EmbeddingExplorer,
    FusionLab,
    LeverageExplorer,
    MoleculeInspector,
    PropertyPicker,
    Study,
    explore,
    without_nan,
)

TINY = TrainConfig(d_h=24, head_width=16, min_steps=60, max_steps=60)
HOSTILE = "<img src=x onerror=alert(1)>"
VIEWS = widgets.VIEWS


@pytest.fixture(scope="module")
def fitted():
    table = load_xtb().select(range(120)).only(["gap", "dipole", "logp"])
    Y = table.Y.copy()
    Y[::4, 0] = np.nan
    table = replace(table, Y=Y)
    split = split_molecules(table, seed=0)
    single = SingleTask(TINY, n_models=2, n_jobs=1, progress=False).fit(table, split)
    fused = FusedMultiTask(single).fit(table, split)
    return table, split, {"ST": single, "F-MT": fused}


@pytest.fixture
def study(fitted):
    return Study(*fitted, background=False)


@pytest.fixture(scope="module")
def hostile():
    """Hostile names of properties, of the unit and of a text column."""
    source = load_xtb().select(range(60)).only(["gap", "dipole"])
    tasks = (Task(HOSTILE, HOSTILE), Task("<script>alert(2)</script>", "D"))
    extra = pd.DataFrame({"name": [HOSTILE] * 60})
    table = MoleculeTable(source.smiles, source.Y, tasks, extra=extra)
    split = split_molecules(table, seed=0)
    single = SingleTask(replace(TINY, min_steps=20, max_steps=20), n_jobs=1, progress=False).fit(table, split)
    fused = FusedMultiTask(single).fit(table, split)
    return table, split, {HOSTILE: single, "<b>F</b>": fused}


def fire(canvas, event, points, selector=None):
    """Do what the page does: hand a message of plotly's to the figure; `points` are (trace, point, x, y)."""
    canvas._js2py_pointsCallback = {
        "event_type": event,
        "points": {
            "trace_indexes": [one[0] for one in points],
            "point_indexes": [one[1] for one in points],
            "xs": [one[2] if len(one) > 2 else 0 for one in points],
            "ys": [one[3] if len(one) > 3 else 0 for one in points],
        },
        "device_state": {
            "alt": False,
            "ctrl": False,
            "meta": False,
            "shift": False,
            "button": 0,
            "buttons": 1,
        },
        "selector": selector,
    }


LASSO = {"type": "lasso", "selector_state": {"xs": [0, 1], "ys": [0, 1]}}


def texts_of(widget):
    """All text of a view that a page would read as HTML."""
    own = widget.value if type(widget).__name__ == "HTML" else ""
    return own + "".join(texts_of(child) for child in getattr(widget, "children", ()))


# Study


def test_study_checks_and_announces(study):
    heard = []
    study.observe(lambda change: heard.append(change["name"]), ["selection", "hovered", "k", "measure"])
    study.selection = np.array([3, 14, 3])
    study.hovered = 5
    study.k = 2
    study.measure = "rsa"
    assert study.selection == (3, 14)
    assert heard == ["selection", "hovered", "k", "measure"]
    for name, bad, words in (
        ("selection", [120], "from 0 to 119"),
        ("selection", "CCO", "row numbers"),
        ("hovered", 120, "hovered"),
        ("k", 0, "`k`"),
        ("measure", "ccka", "cka"),
        ("model", "MT", "no model"),
        ("properties", ["gapp"], "Did you mean 'gap'"),
        ("models", {"a": 3}, "int"),
        ("models", {"a": SingleTask()}, "not fitted"),
    ):
        before = getattr(study, name)
        with pytest.raises(InputError, match=re.escape(words)):
            setattr(study, name, bad)
        assert getattr(study, name) == before
    assert len(heard) == 4


def test_selected_frame_holds_measured_and_predicted(study):
    assert len(study.selected_frame()) == 0
    study.selection = [7, 4]
    frame = study.selected_frame()
    table, model = study.table, study.models["F-MT"]
    assert frame.index.tolist() == [7, 4] and frame.index.name == "row"
    assert frame["smiles"].tolist() == [table.smiles[7], table.smiles[4]]
    expected = model.predict(table)["dipole"].to_numpy()[[7, 4]]
    np.testing.assert_allclose(frame["dipole (D) by F-MT"], expected, rtol=1e-5)
    study.predictions("F-MT")
    np.testing.assert_allclose(study.selected_frame()["dipole (D) by F-MT"], expected, rtol=1e-5)
    assert np.isnan(frame["gap (eV)"].loc[4])


def test_a_new_table_drops_what_belonged_to_the_old(study):
    study.selection = [3]
    study.embedding("F-MT")
    study.table = study.table.select(range(20))
    assert study.models == {} and study.split is None and study.selection == () and study.model == ""
    assert not study.ready("embedding", "F-MT")


@pytest.mark.parametrize("rows", [120, 30])
def test_open_views_follow_a_new_table(study, rows):
    board = widgets.Dashboard(study)
    for number in range(len(VIEWS)):
        board.open_tab(number)
    study.selection, study.hovered = [110, 3], 110
    study.table = load_xtb().select(range(rows)).only(["homo", "lumo"])
    assert study.properties == ("homo", "lumo") and study.selection == () and study.hovered is None
    assert list(board.views[0].boxes) == ["homo", "lumo"]
    for view in board.views.values():
        assert not re.search("Unexpected|dipole", texts_of(view)), type(view).__name__
        assert "fb-error" not in view.status.value, view.status.value


def test_an_empty_study_gets_its_first_table(fitted):
    study = Study(background=False)
    view = PropertyPicker(study)
    study.table = fitted[0]
    assert list(view.boxes) == ["gap", "dipole", "logp"] and "3 of 3 properties" in view.status.value


def test_split_of_another_table_is_refused(study):
    with pytest.raises(InputError, match="another table"):
        Study(study.table.select(range(10)), study.split)


def test_results_are_computed_once(study):
    calls = []
    first = study.keep(("x",), lambda: calls.append(1) or object())
    assert study.keep(("x",), lambda: calls.append(1) or object()) is first and calls == [1]
    study.models = {"ST": study.models["ST"]}
    assert study.keep(("x",), lambda: calls.append(1) or 3) == 3


def test_a_known_result_waits_for_nobody(study):
    study.keep(("known",), lambda: 1)
    begun, ended = threading.Event(), threading.Event()

    def slow():
        begun.set()
        ended.wait(20)

    worker = threading.Thread(target=lambda: study.keep(("slow",), slow))
    worker.start()
    begun.wait()
    start = time.perf_counter()
    assert study.keep(("known",), lambda: 2) == 1 and time.perf_counter() - start < 5
    study.forget()
    ended.set()
    worker.join()
    assert not study.ready("slow"), "it was computed before all was forgotten"


def test_a_block_that_the_model_lacks_is_not_looked_at(study):
    multi = MultiTask(replace(TINY, min_steps=20, max_steps=20), n_jobs=1, progress=False)
    study.models = {**study.models, "MT": multi.fit(study.table, study.split)}
    study.block, study.feature = "gap", 1
    study.model = "ST"
    assert (study.block, study.feature) == ("gap", 1)
    study.model = "MT"
    assert (study.block, study.feature) == (None, None)


def test_background_work_tells_its_result(fitted):
    study = Study(*fitted, background=True)
    view = EmbeddingExplorer(study)
    assert "Computing" in view.status.value
    for _ in range(100):
        widgets.wait_for(study)
        if "have a value" in view.status.value:
            break
        time.sleep(0.05)
    assert len(view.maps) == 1 and "molecules have a value" in view.status.value


# EmbeddingExplorer


def shown(view):
    return np.concatenate([np.asarray(trace.customdata) for trace in view.canvas.data[:2]])


def test_map_greys_what_is_unmeasured(study):
    view = EmbeddingExplorer(study)
    grey, coloured = view.canvas.data[:2]
    assert sorted(shown(view)) == list(range(120))
    assert set(grey.customdata) == set(np.flatnonzero(np.isnan(study.table.Y[:, 0])))
    np.testing.assert_allclose(coloured.marker.color, study.table.Y[np.asarray(coloured.customdata), 0])
    xy = study.latent("F-MT", None).xy
    np.testing.assert_allclose(coloured.x, xy[np.asarray(coloured.customdata), 0])


def test_every_colour_and_map(study):
    view = EmbeddingExplorer(study)
    for kind in widgets.COLOURS:
        view.colour_by.value = kind
        assert "fb-error" not in view.status.value, kind
        own = widgets.colouring(study, kind, "gap", "F-MT").values
        np.testing.assert_allclose(
            view.canvas.data[1].marker.color, own[np.asarray(view.canvas.data[1].customdata)]
        )
    assert list(view.canvas.data[1].marker.colorbar.ticktext) == ["train", "valid", "test"]
    view.task.value = "dipole"
    view.second.value = "logp"
    assert view.canvas.data[2].visible and "logp" in view.canvas.layout.xaxis2.title.text
    view.second.value = ""
    assert view.canvas.data[2].visible is False
    study.model = "ST"
    assert view.model.value == "ST"


def test_lasso_flows_to_python_and_to_the_other_map(study):
    view = EmbeddingExplorer(study)
    other = EmbeddingExplorer(study)
    view.second.value = "dipole"
    rows = [int(view.canvas.data[0].customdata[2]), int(view.canvas.data[1].customdata[5])]
    fire(view.canvas, "plotly_selected", [(0, 2), (1, 5)], LASSO)
    assert study.selection == tuple(sorted(rows))
    for canvas, traces in ((view.canvas, 4), (other.canvas, 2)):
        faded = [int(t.customdata[i]) for t in canvas.data[:traces] for i in t.selectedpoints]
        assert sorted(faded) == sorted(rows * (traces // 2))
    fire(view.canvas, "plotly_selected", [], LASSO)
    assert study.selection == () and view.canvas.data[0].selectedpoints is None
    fire(view.canvas, "plotly_selected", [(3, 0)], LASSO)
    assert study.selection == (int(view.canvas.data[3].customdata[0]),)
    fire(view.canvas, "plotly_deselect", [])
    assert study.selection == ()


def test_a_page_that_began_too_early_gets_the_whole_drawing(study):
    view = EmbeddingExplorer(study)
    number = view.fitter.stored
    assert view.canvas._widget_layout["editrevision"] == number == view.canvas.layout.editrevision
    told = []
    names = ["_py2js_deleteTraces", "_py2js_addTraces", "_py2js_relayout"]
    view.canvas.observe(lambda change: change["new"] and told.append((change["name"], change["new"])), names)
    view.fitter._handle_custom_msg({"traces": 2, "names": ["title", "xaxis"]}, [])
    kinds = [name for name, _ in told]
    assert kinds == ["_py2js_relayout", "_py2js_deleteTraces", "_py2js_addTraces", "_py2js_relayout"]
    assert told[1][1]["delete_inds"] == [0, 1] and len(told[2][1]["trace_data"]) == 6
    layout = told[3][1]["relayout_data"]
    assert layout["title"] is None and layout["xaxis"] and layout["editrevision"] == number + 1
    assert view.fitter.stored == number + 1


def test_plotly_script_comes_to_the_page_once(study):
    views = [EmbeddingExplorer(study), LeverageExplorer(study)]
    script = widgets.plotly_script()
    assert (
        script is widgets.plotly_script()
        and len(script.source) > 1_000_000
        and "render" in script.source[-3000:]
    )
    for view in views:
        assert len(view.canvas.get_state("_esm")["_esm"]) < 5_000


def test_late_answers_of_the_page_are_left_aside(study):
    view = EmbeddingExplorer(study)
    canvas = view.canvas
    sent = canvas._last_trace_edit_id - 1  # the page answers the last edit; it had drawn other values before
    canvas._js2py_traceDeltas = {
        "trace_deltas": [{"uid": canvas.data[0].uid, "x": {"0": 1.0, "1": 2.0}}],
        "trace_edit_id": sent,
    }
    assert len(canvas.data[0].x) == len(canvas.data[0].customdata)


def test_cards_and_pairs_open_without_a_mouse(study):
    levers = LeverageExplorer(study)
    levers.block.value = "dipole"
    assert study.block == "dipole" and levers.feature.value == study.feature
    levers.feature.value = 3 if study.feature != 3 else 4
    assert f"dipole, feature {levers.feature.value}" in levers.panel.value
    levers.click_bar("gap")
    assert levers.block.value == "gap" and levers.feature.value == study.feature
    spaces = ConnectionExplorer(study)
    spaces.source.value, spaces.target.value = "gap", "gap"
    spaces.open_chosen()
    assert "two different spaces" in spaces.status.value and spaces.pair is None
    spaces.target.value = "logp"
    spaces.open_chosen()
    assert spaces.pair == ("gap", "logp") and "gap → logp" in spaces.panel.value


def outlined(canvas):
    """Do what the page does after a lasso: send the line back, with entries that have no value."""
    line = {"type": "path", "opacity": Undefined, "line": {"color": Undefined}, "path": "M0,0L1,1Z"}
    canvas._js2py_relayout = {"relayout_data": {"selections": [line]}, "source_view_id": None}


def sent(canvas):
    """Note what a page would be told of lines and of selected points."""
    told = []

    def hear(change):
        content = change["new"]
        if content and "editrevision" not in (content.get("relayout_data") or ()):
            told.append(content.get("relayout_data") or content.get("restyle_data"))

    canvas.observe(hear, ["_py2js_relayout", "_py2js_restyle"])
    return told


def test_after_a_lasso_the_map_obeys_python(study):
    view = EmbeddingExplorer(study)
    view.second.value = "dipole"
    told = sent(view.canvas)
    fire(view.canvas, "plotly_selected", [(1, 5), (1, 6)], LASSO)
    outlined(view.canvas)
    assert "selections" in view.canvas._layout and {"selections": []} not in told
    told.clear()
    study.selection = [1]
    assert told[0] == {"selections": []}, "first the line goes"
    points = [
        [] if 1 not in trace.customdata else [list(trace.customdata).index(1)]
        for trace in view.canvas.data[:4]
    ]
    assert told[-1] == {"selectedpoints": [*points, None, None]}
    assert "selections" not in json.loads(json.dumps(view.canvas._widget_layout))
    told.clear()
    fire(view.canvas, "plotly_selected", [])  # the page's answer: nothing lies in no line
    assert study.selection == (1,) and told[-1] == {"selectedpoints": [*points, None, None]}
    told.clear()
    study.selection = [2]
    assert {"selections": []} not in told, "there is no line any more"


def test_a_line_does_not_outlive_its_drawing(study):
    view = EmbeddingExplorer(study)
    fire(view.canvas, "plotly_selected", [(1, 5)], LASSO)
    outlined(view.canvas)
    view.figure()
    told = sent(view.canvas)
    view.colour_by.value = "split"
    assert told[0] == {"selections": []} and len(study.selection) == 1
    spaces = ConnectionExplorer(study)
    spaces.open_pair("gap", "dipole")
    fire(spaces.canvas, "plotly_selected", [(0, 4), (1, 8)], LASSO)
    outlined(spaces.canvas)
    told = sent(spaces.canvas)
    study.selection = [3]
    assert told[0] == {"selections": []} and told[-1] == {"selectedpoints": [[3], [3]]}
    fire(spaces.canvas, "plotly_selected", [(0, 4)], LASSO)
    outlined(spaces.canvas)
    told.clear()
    spaces.shown.value = "all connections"
    assert told[0] == {"selections": []} and "fb-error" not in spaces.status.value
    assert study.selection == (4,)
    fire(spaces.canvas, "plotly_selected", [])  # the page's answer comes when the network is there
    assert not any(getattr(trace, "selectedpoints", None) is not None for trace in spaces.canvas.data)
    assert study.selection == (4,)


def test_the_highest_are_found(study):
    view = EmbeddingExplorer(study)
    view.how.value = widgets.HIGHEST
    view.colour_by.value = "error"
    view.find_box.value = "4"
    error = np.abs(study.predictions("F-MT")["gap"].to_numpy() - study.table.Y[:, 0])
    assert list(study.selection) == pd.Series(error).nlargest(4).index.tolist()
    assert study.hovered == study.selection[0]
    before = study.selection
    view.find_box.value = "0"
    assert "fb-error" in view.status.value and study.selection == before
    empty = EmbeddingExplorer(Study(study.table, background=False))
    empty.how.value = widgets.HIGHEST
    empty.find_box.value = "4"
    assert "no map" in empty.status.value and empty.study.selection == ()


def test_a_picture_is_asked_of_the_page(study):
    view = EmbeddingExplorer(study)
    told = []
    view.fitter.send = told.append
    for kind in ("png", "svg"):
        view.save_picture(kind)
    assert told == [{"picture": kind, "name": "EmbeddingExplorer"} for kind in ("png", "svg")]
    with pytest.raises(InputError, match="jpeg"):
        view.save_picture("jpeg")


def test_untrained_blocks_are_no_end_of_a_connection(fitted):
    table, split, models = fitted
    multi = MultiTask(TINY, n_models=2, n_jobs=1, progress=False).fit(table, split)
    fused = FusedMultiTask(encoders_to_fuse(models["ST"], multi)).fit(table, split)
    study = Study(table, split, {"F-MT": fused}, background=False)
    names = study.block_names("F-MT")
    assert [name for name in names if name not in widgets.learned_names(study, "F-MT")] == names[-3:]
    view = ConnectionExplorer(study)
    assert view.found.names == names[:-3] and names[-1] not in dict(view.source.options)
    with pytest.raises(InputError, match="no space"):
        view.open_pair(names[0], names[-1])
    view.shown.value = "transfer"
    assert "fb-error" not in view.status.value and len(view.canvas.data[0].z) == len(names)
    assert view.side.layout.display == "none"
    levers = LeverageExplorer(study)
    assert set(levers.bars) == set(names)


def test_the_closest_pair_is_named(study):
    view = ConnectionExplorer(study)
    found = view.found
    pairs = [(i, j) for i in range(3) for j in range(i)]
    i, j = max(pairs, key=lambda pair: found.value[pair])
    assert all(f"{found.names[one]}" in view.status.value.split("(")[0] for one in (i, j))
    assert ("no more than chance" in view.status.value) != bool(found.clears[i, j] or found.clears[j, i])
    study.measure = "reconstruction"
    found = view.found
    nearest = min(((i, j) for i in range(3) for j in range(3) if i != j), key=lambda pair: found.value[pair])
    assert f"Most alike: {found.names[nearest[0]]} and {found.names[nearest[1]]}" in view.status.value


def test_neighbours_of_a_pasted_molecule_are_ringed(study):
    view = EmbeddingExplorer(study)
    view.paste("CCCCO")
    marks = view.canvas.data[4]
    rows = [int(text.split()[-1]) for text in marks.text[1:]]
    np.testing.assert_allclose(np.asarray(marks.x)[1:], study.latent("F-MT", None).xy[rows, 0])
    assert marks.marker.line.width > 1 and list(marks.marker.symbol) == ["star", *["circle"] * 5]
    assert view.panel.value.index("nearest molecules") < view.panel.value.index("predictions")


def test_hover_draws_and_click_keeps(study):
    view = EmbeddingExplorer(study)
    fire(view.canvas, "plotly_hover", [(1, 3)])
    row = int(view.canvas.data[1].customdata[3])
    assert study.hovered == row and "<svg" in view.panel.value and f"molecule {row}" in view.panel.value
    fire(view.canvas, "plotly_click", [(1, 3)])
    assert study.selection == (row,)
    fire(view.canvas, "plotly_click", [(1, 3)])
    assert study.selection == ()


def test_find(study):
    view = EmbeddingExplorer(study)
    view.find_box.value = study.table.smiles[11]
    assert 11 in study.selection and "match" in view.status.value
    view.how.value = "SMARTS"
    view.find_box.value = "[#7]"
    from rdkit import Chem

    with_n = [
        i for i, s in enumerate(study.table.smiles) if any(a.GetAtomicNum() == 7 for a in _atoms(Chem, s))
    ]
    assert study.selection == tuple(with_n)
    view.find_box.value = "[#7"
    assert "no SMARTS" in view.status.value and study.selection == tuple(with_n)
    view.how.value = "text"
    view.find_box.value = "ethanol"
    assert "no text column" in view.status.value


def _atoms(Chem, smiles):
    return Chem.MolFromSmiles(smiles).GetAtoms()


def test_pasted_molecule_lands_on_its_own_point(study):
    view = EmbeddingExplorer(study)
    view.second.value = "gap"
    view.paste_box.value = study.table.smiles[9]
    for number, block in enumerate((None, "gap")):
        star = view.canvas.data[4 + number]
        np.testing.assert_allclose([star.x[0], star.y[0]], study.latent("F-MT", block).xy[9], atol=1e-4)
        assert len(star.x) == 6 and "molecule 9" in star.text[1]
    view.paste_box.value = "C1CC"
    assert "cannot be read" in view.status.value and len(view.canvas.data[4].x) == 0
    view.clear()
    assert view.paste_box.value == ""


def test_a_pasted_molecule_lands_anew_on_another_map(study):
    view = EmbeddingExplorer(study)
    view.paste_box.value = study.table.smiles[9]
    for model, block in (("F-MT", "gap"), ("ST", "gap"), ("ST", "")):
        study.model, view.first.value = model, block
        latent, star = study.latent(model, block or None), view.canvas.data[4]
        np.testing.assert_allclose([star.x[0], star.y[0]], latent.xy[9], atol=1e-4)
        rows = latent.nearest(
            study.embedding(model).take([9]) if not block else study.embedding(model).take([9]).only([block])
        )[0]
        assert list(star.text)[1:] == [f"neighbour {i + 1}: molecule {row}" for i, row in enumerate(rows)]
        assert (
            "pasted molecule" in view.panel.value and f'<th scope="row">{rows[-1]}</th>' in view.panel.value
        )
    view.clear()
    assert len(view.canvas.data[4].x) == 0 and "Point at a molecule" in view.panel.value


def test_a_star_does_not_outlive_its_table(study):
    table, models = study.table, study.models
    view = EmbeddingExplorer(study)
    view.paste(table.smiles[100])
    study.table = table.select(range(30))
    assert len(view.canvas.data[4].x) == 0 and view.landed == {}
    study.models = {"ST": models["ST"]}
    rows = [int(text.split()[-1]) for text in view.canvas.data[4].text[1:]]
    assert max(rows) < 30 and "Unexpected" not in view.status.value


def test_no_property_is_said_in_words(study):
    view = EmbeddingExplorer(study)
    study.properties = []
    assert "pick a property first" in view.status.value
    view.colour_by.value = "leverage"
    assert "All 120 molecules have a value" in view.status.value


def test_saving(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    view = EmbeddingExplorer(study)
    assert view.save_selection() is None and "Nothing is selected" in view.status.value
    study.selection = [1, 2]
    assert view.save_selection().name == "selection.csv" and view.save_selection().name == "selection-1.csv"
    assert pd.read_csv("selection.csv")["row"].tolist() == [1, 2]
    page = view.save_page().read_text()
    assert "Map of the molecules" in page and 'src="http' not in page and len(page) > 1_000_000


def test_more_points_than_can_be_drawn_are_sampled(study, monkeypatch):
    monkeypatch.setattr(widgets, "MAX_POINTS", 50)
    study.selection = [100]
    view = EmbeddingExplorer(study)
    drawn = set(shown(view).tolist())
    assert len(drawn) == 50 and {100, *study.split.test.tolist()} <= drawn
    assert "50 of 120 molecules are drawn" in view.status.value
    hidden = next(row for row in range(120) if row not in drawn)
    view.how.value = "row"
    view.find(str(hidden))
    assert study.selection == (hidden,) and hidden in shown(view)


def test_25000_molecules(fitted):
    table, _, models = fitted
    table = table.select(np.arange(25_000) % table.n)
    order = np.random.default_rng(0).permutation(table.n)
    split = Split(np.sort(order[:20_000]), np.sort(order[20_000:22_500]), np.sort(order[22_500:]))
    study = Study(table, None, {"F-MT": models["F-MT"]}, background=False)
    study.split = split
    Z = np.random.default_rng(1).normal(size=(3, table.n, 8))
    names = models["F-MT"].embed(["C"]).names
    blocks = EmbeddingBlocks(dict(zip(names, Z)), table.smiles)
    study.keep(("embedding", "F-MT", 0), lambda: blocks)
    view = EmbeddingExplorer(study)
    drawn = shown(view)
    assert len(drawn) == len(set(drawn.tolist())) == 20_000 and np.isin(split.test, drawn).all()
    assert "20,000 of 25,000 molecules are drawn" in view.status.value
    assert "20,000 of 25,000" in view.figure().layout.meta["description"]
    outside = np.setdiff1d(np.arange(table.n), drawn)[:3]
    study.selection = outside
    assert np.isin(outside, shown(view)).all() and len(shown(view)) == 20_000
    for trace in view.canvas.data[:2]:
        chosen = [int(trace.customdata[i]) for i in trace.selectedpoints]
        assert chosen == [row for row in outside.tolist() if row in set(trace.customdata)]


def test_a_block_of_another_view_changes_places(study):
    view = EmbeddingExplorer(study)
    view.second.value = "dipole"
    study.block = "dipole"
    assert (view.first.value, view.second.value) == ("dipole", "") and len(view.maps) == 1
    view.second.value = "gap"
    study.block = "gap"
    assert (view.first.value, view.second.value) == ("gap", "dipole") and len(view.maps) == 2


# LeverageExplorer


def test_rank_slider_and_clicks(study):
    view = LeverageExplorer(study)
    spectrum = study.spectrum("F-MT")
    for k in spectrum.ranks[:3]:
        view.rank.value = k
        assert study.k == k
        np.testing.assert_allclose(
            np.sort(view.canvas.data[0].x), np.sort(spectrum.leverage.curve.loc[k]), rtol=1e-6
        )
    study.k = spectrum.ranks[0]
    assert view.rank.value == spectrum.ranks[0]
    bar = next(i for i, trace in enumerate(view.canvas.data) if trace.type == "bar")
    fire(view.canvas, "plotly_click", [(bar, len(view.bars) - 1)])
    assert study.block == view.bars[-1]
    own = view.scores[view.scores["block"] == study.block]
    assert study.feature == own.loc[own["leverage"].idxmax(), "feature"]
    assert f"{study.block}, feature {study.feature}" in view.panel.value and "<svg" in view.panel.value
    area = next(i for i, t in enumerate(view.canvas.data) if t.customdata is not None and len(t.customdata))
    fire(view.canvas, "plotly_click", [(area, 1)])
    column, feature = view.canvas.data[area].customdata[1]
    assert study.feature == feature
    assert view.scores.set_index("column").loc[column, "block"] == study.block
    view.how.value = "deim"
    assert "fb-error" not in view.status.value


def test_leverage_at_the_highest_rank_is_block_leverage(study):
    spectrum = study.spectrum("F-MT")
    scores = spectrum.scores(spectrum.leverage.k)["leverage"]
    np.testing.assert_allclose(scores, spectrum.leverage.scores["leverage"], rtol=1e-6, atol=1e-9)


def scaled(blocks):
    Z = blocks.concatenate()
    scaler = fit_block_scaler(Z, blocks.block_of, "block")
    return scaler, scaler.transform(Z.astype(np.float64))


@pytest.mark.parametrize("how", ["top", "deim", "greedy"])
def test_columns_are_those_of_select_columns(study, how):
    spectrum = study.spectrum("F-MT")
    scaler, X = scaled(study.embedding("F-MT"))
    for k in spectrum.ranks:
        assert sorted(spectrum.columns(k, how)) == sorted(scaler.columns[select_columns(X, k, k, how)])


def test_a_card_does_not_outlive_its_model(study):
    view = LeverageExplorer(study)
    view.click_feature("gap", 1)
    assert "gap, feature 1" in view.panel.value
    study.model = "ST"
    assert "Click a bar" in view.panel.value and view.block.value == ""
    view.click_feature("gap", 1)
    assert "gap, feature 1" in view.panel.value
    study.models = {"ST": study.models["ST"]}
    assert "Click a bar" in view.panel.value


class Collapsed(SingleTask):
    """What an encoder gives that has collapsed: one constant block."""

    def embed(self, mols, **options):
        known = super().embed(mols, **options)
        return EmbeddingBlocks({**known.blocks, "gap": np.full_like(known.blocks["gap"], 0.25)}, known.smiles)


@pytest.fixture
def collapsed(study):
    model = copy.copy(study.models["ST"])
    model.__class__ = Collapsed
    study.models = {"ST": model}
    return study


def test_a_collapsed_block_has_no_card(collapsed):
    view = LeverageExplorer(collapsed)
    view.block.value = "gap"
    assert "gap is the same for all molecules" in view.status.value
    view.click_feature("gap", 0)
    assert "Unexpected" not in texts_of(view)


def test_what_cannot_be_compared_leaves_no_old_drawing(study):
    multi = MultiTask(replace(TINY, min_steps=20, max_steps=20), n_jobs=1, progress=False)
    study.models = {**study.models, "MT": multi.fit(study.table, study.split)}
    view = ConnectionExplorer(study)
    view.open_pair("gap", "logp")
    view.shown.value = "all connections"
    study.model = "MT"
    assert "single block" in view.status.value and len(view.canvas.data) == 0
    assert "Click a cell" in view.panel.value
    study.model = "F-MT"
    assert view.canvas.data[0].type == "heatmap" and "of the pairs clear" in view.status.value


def test_a_collapsed_block_is_left_out_of_connections(collapsed):
    view = ConnectionExplorer(collapsed)
    assert (
        view.found.names == ["dipole", "logp"]
        and "Left out, the same for all molecules: gap." in view.status.value
    )
    widgets.prepare_pairs(collapsed, "ST")
    view.open_pair("dipole", "logp")
    assert "dipole → logp" in view.panel.value
    view.shown.value = "transfer"
    assert "Left out, the same for all molecules: gap." in view.status.value and len(view.canvas.data) == 2


# ConnectionExplorer


def test_cell_and_edge_open_two_spaces(study):
    view = ConnectionExplorer(study)
    names = view.found.names
    assert view.found.ceiling is not None, "two ensemble members give a ceiling"
    fire(view.canvas, "plotly_click", [(0, 0, 2, 0)])
    assert view.pair == (names[0], names[2]) and f"{names[0]} → {names[2]}" in view.panel.value
    assert [trace.type for trace in view.canvas.data] == ["scattergl", "scattergl"]
    fire(view.canvas, "plotly_selected", [(0, 4), (1, 8)], LASSO)
    assert study.selection == (4, 8) and list(view.canvas.data[1].selectedpoints) == [4, 8]
    view.shown.value = "all connections"
    at = next((i for i, trace in enumerate(view.canvas.data) if trace.name == "connections"), None)
    if at is not None:
        fire(view.canvas, "plotly_click", [(at, 0)])
        assert view.pair == (view.edges["source"].iloc[0], view.edges["target"].iloc[0])
    view.shown.value = "transfer"
    assert [trace.type for trace in view.canvas.data] == ["heatmap", "heatmap"]


@pytest.mark.parametrize("measure", ["reconstruction", "rsa", "knn"])
def test_measures(study, measure):
    view = ConnectionExplorer(study)
    view.measure.value = measure
    assert study.measure == measure and view.found.measure == measure and "fb-error" not in view.status.value


def test_diagonal_and_unknown_space(study):
    view = ConnectionExplorer(study)
    fire(view.canvas, "plotly_click", [(0, 0, 1, 1)])
    assert view.pair is None
    view.shown.value = "two spaces"
    assert "Choose two spaces first" in view.panel.value
    with pytest.raises(InputError, match="no space"):
        view.open_pair("gap", "dipol")


@pytest.mark.parametrize("measure", ["cka", "reconstruction", "procrustes"])
def test_the_panel_tells_the_ceiling_of_the_table(study, measure):
    view = ConnectionExplorer(study)
    study.measure = measure
    view.open_pair("gap", "logp")
    long = view.found.to_long().set_index(["source", "target"])
    row = f"ceiling: the same with another seed</th><td>{widgets.number_text(long.loc[('gap', 'logp'), 'ceiling'])}<"
    assert row in view.panel.value


def test_no_floor_no_word_of_untrained_encoders(fitted):
    view = ConnectionExplorer(Study(fitted[0], None, fitted[2], background=False))
    view.open_pair("gap", "logp")
    assert view.found.floor is None and re.search(r"(clears|does not clear) chance\.", view.panel.value)
    view.shown.value = "all connections"
    assert "of the pairs clear chance." in view.status.value
    assert "untrained" not in view.status.value + view.panel.value


def test_the_panel_of_a_pair_does_not_outlive_measure_and_model(study):
    view = ConnectionExplorer(study)
    view.open_pair("gap", "logp")
    view.shown.value = "all connections"
    assert "gap → logp" in view.panel.value
    study.measure = "rsa"
    assert "Click a cell" in view.panel.value
    view.shown.value = "two spaces"
    view.pair = None
    view.refresh()
    assert "Choose two spaces first" in view.panel.value and len(view.canvas.data) == 0
    study.table = load_xtb().select(range(30)).only(["homo", "lumo"])
    assert view.pair is None and view.source.value == view.target.value == ""
    view.open_chosen()
    assert "Choose two different spaces" in view.status.value


# MoleculeInspector


def test_inspector_against_the_library(study):
    view = MoleculeInspector(study)
    assert "Type or paste" in view.cards[0].value
    view.first.value = "CCCCO"
    seen = widgets.inspect_molecule(study, "CCCCO", "F-MT", "gap")
    oracle = applicability_domain(study.models["F-MT"], study.table, study.split, ["CCCCO"]).iloc[0]
    np.testing.assert_allclose(float(seen.domain["leverage"]), oracle["leverage"], rtol=1e-5)
    np.testing.assert_allclose(
        seen.explanation.prediction, study.models["F-MT"].predict(["CCCCO"])["gap"][0], rtol=1e-4
    )
    np.testing.assert_allclose(sum(view.canvas.data[0].x), seen.explanation.blocks.sum())
    assert set(seen.predictions.columns) == {"ST", "F-MT"}
    made = study.intervals("F-MT").predict(["CCCCO"]).iloc[0]
    value, half = (float(one) for one in seen.predictions.loc["gap (eV)", "F-MT"].split(" ± "))
    np.testing.assert_allclose([value - half, value + half], [made["gap low"], made["gap high"]], atol=0.06)
    unknown = Study(study.table, None, study.models, background=False)
    assert "±" not in widgets.predictions_of(unknown, "CCCCO").loc["gap (eV)", "F-MT"]
    assert view.cards[1].layout.display == "none"
    view.second.value = "c1ccccc1"
    assert (
        len(view.canvas.data) == 2
        and "<svg" in view.cards[1].value
        and view.cards[1].layout.display == "block"
    )
    view.first.value = "C1CC"
    assert "cannot be read" in view.status.value
    view.second.value = ""
    study.selection = [3, 9]
    view.pick()
    assert view.first.value == study.table.smiles[3] and view.second.value == study.table.smiles[9]
    study.selection = ()
    view.pick()
    assert "Nothing is selected" in view.status.value


def test_blocks_with_names_that_begin_alike_have_bars_of_their_own():
    names = ["solubility in water at 25 °C", "solubility in water at 37 °C", "gap"]
    one = types.SimpleNamespace(
        blocks=pd.Series([1.0, -2.0, 0.5], names), smiles="C", sentence="", unit="", task="gap"
    )
    fig = widgets.contribution_figure([one])
    assert len(set(fig.data[0].y)) == 3 and list(fig.data[0].x) == [1.0, -2.0, 0.5]
    assert list(fig.data[0].customdata) == names and fig.layout.yaxis.ticktext[2] == "gap"


# PropertyPicker


def test_picker(study):
    view = PropertyPicker(study)
    view.boxes["dipole"].value = False
    assert study.properties == ("gap", "logp")
    study.properties = ["dipole"]
    assert [box.value for box in view.boxes.values()] == [False, True, False]
    view.preset.value = "none"
    assert study.properties == () and "Nothing is picked" in view.panel.value
    view.preset.value = "with gap"
    r = pd.DataFrame(study.table.Y, columns=study.table.task_names).corr()["gap"].abs()
    assert study.properties == tuple(r.index[r >= 0.5])
    view.filter.value = "LOG"
    assert list(view.boxes) == ["logp"]


def test_the_page_of_the_picker_names_the_properties(study):
    view = PropertyPicker(study)
    assert all(f"<b>{name}</b>" in view.panels()[0] for name in study.table.task_names)
    study.table = None
    assert view.panels()[0] == "<div></div>" and "fusionbook" in view.to_html()


def test_picks_that_cannot_be_trained(fitted):
    table, split, _ = fitted
    Y = table.Y.copy()
    Y[6:, 0] = np.nan
    Y[:, 1] = 3.0
    table = replace(table, Y=Y)
    assert "cannot be trained" in widgets.pick_problems(table, ["gap"], split)[0]
    assert "one value only" in widgets.pick_problems(table, ["dipole"], split)[0]
    assert widgets.pick_problems(table, [], None)[0].startswith("Nothing is picked")


# FusionLab


def lab_of(fitted, models=("mean", "ST"), steps=20):
    lab = FusionLab(Study(*fitted[:2], background=False))
    for name, box in lab.models.items():
        box.value = name in models
    lab.d_h.value, lab.max_steps.value = 16, steps
    return lab


def test_lab_models_are_those_of_fit(fitted):
    table, split, _ = fitted
    plan = widgets.TrainingPlan(("ST", "MT", "F-MT"), d_h=16, max_steps=20, seed=3)
    run = widgets.LabTraining(table, split, plan)
    run.run()
    assert run.state == "done", run.message
    single = SingleTask(plan.configured(SingleTask), seed=3, n_jobs=1, progress=False).fit(table, split)
    multi = MultiTask(plan.configured(MultiTask), seed=3, n_jobs=1, progress=False).fit(table, split)
    fused = FusedMultiTask(encoders_to_fuse(single, multi), seed=3).fit(table, split)
    for name, other in (("ST", single), ("MT", multi), ("F-MT", fused)):
        np.testing.assert_array_equal(run.models[name].predict(table), other.predict(table))
    assert {name: len(frames) for name, frames in run.histories.items()} == {"ST": 3, "MT": 1}
    pd.testing.assert_frame_equal(
        run.histories["ST"][1], single.networks_[0][1].history.to_frame(["dipole"]), check_dtype=False
    )


def test_properties_may_be_called_as_columns_of_a_learning_curve_are(fitted):
    table, split, _ = fitted
    names = ["step", "train loss", "logp"]
    table = replace(table, tasks=tuple(replace(task, name=name) for task, name in zip(table.tasks, names)))
    run = widgets.LabTraining(table, split, widgets.TrainingPlan(("ST", "MT"), d_h=16, max_steps=20))
    run.run()
    assert run.state == "done", run.message
    columns = ["step", "train loss", "step (property)", "train loss (property)", "logp"]
    assert list(run.histories["MT"][0]) == columns
    assert [list(frame) for frame in run.histories["ST"]] == [[*columns[:2], name] for name in columns[2:]]
    titles = [note.text for note in widgets.curves_figure(run).layout.annotations]
    assert titles[:3] == columns[2:]


class Watched(widgets.LabTraining):
    """Calls `seen(training, told)` before each step is noted."""

    def note(self, told):
        self.seen(self, told)
        super().note(told)


@pytest.mark.parametrize("where", ["network", "embedding", "head"])
def test_cancel_is_heard_at_the_next_step(fitted, where):
    table, split, _ = fitted
    steps = []

    def seen(training, told):
        if told.what == where:
            steps.append(told.step)
            if told.step == 2:
                training.cancel()

    run = Watched(table, split, widgets.TrainingPlan(("MT", "F-MT"), d_h=16, max_steps=20))
    run.seen = seen
    run.run()
    assert steps == [1, 2] and run.state == "cancelled" and run.models == {} and run.errors is None


def test_curves_grow_while_a_network_trains(fitted):
    table, split, _ = fitted
    lengths, panels = [], []

    def seen(training, told):
        if training.rounds and training.rounds != sum(lengths[-1:]):
            lengths.append(training.rounds)
            fig = widgets.training_figure(training, "learning curves")
            panels.append([note.text for note in fig.layout.annotations[:3]])
        if told.step == 60:
            training.cancel()

    run = Watched(table, split, widgets.TrainingPlan(("ST",), d_h=16, max_steps=100))
    run.seen = seen
    run.run()
    assert lengths == sorted(lengths) and len(lengths) > 20
    assert all(one == ["gap", "dipole", "logp"] for one in panels)
    assert 0 < run.steps < 100 and run.total == 300


def test_models_that_saw_the_new_test_molecules_leave(fitted):
    table, split, models = fitted
    lab = FusionLab(Study(table, split, {"old": models["ST"]}, background=False))
    for name, box in lab.models.items():
        box.value = name == "mean"
    lab.by.value, lab.seed.value = "random", 5
    lab.train()
    lab.wait()
    assert list(lab.study.models) == ["mean"] and "old left the study" in lab.status.value
    lab.by.value = "study"
    lab.train()
    lab.wait()
    assert list(lab.study.models) == ["mean"] and "left" not in lab.status.value


def test_a_table_that_changes_meanwhile_gets_no_models(fitted):
    lab = lab_of(fitted, ("ST",), 400)
    lab.train()
    lab.study.table = lab.study.table.select(range(30))
    lab.wait()
    assert lab.study.models == {} and "table was changed meanwhile" in lab.status.value
    assert not lab.train_button.disabled


def test_a_split_that_changes_meanwhile_stays(fitted):
    lab = lab_of(fitted, ("ST",), 200)
    lab.train()
    given = lab.study.split = split_molecules(fitted[0], seed=7)
    lab.wait()
    assert lab.study.split is given and lab.study.models == {}
    assert "ST left the study" in lab.status.value and "split was changed meanwhile" in lab.status.value


def test_errors_do_not_outlive_their_table(fitted):
    lab = lab_of(fitted, ("mean",))
    lab.train()
    lab.wait()
    assert "mean of all" in lab.results.value and len(lab.canvas.data)
    lab.study.table = lab.study.table.select(range(60))
    assert "mean of all" not in lab.results.value and len(lab.canvas.data) == 0 and lab.training is None


def test_a_lab_without_test_molecules_or_training_says_so(fitted):
    lab = lab_of((fitted[0], split_molecules(fitted[0], fractions=(0.9, 0.1, 0))), ("mean",))
    with pytest.raises(InputError, match=re.escape("call train() first")):
        lab.wait()
    lab.train()
    lab.wait()
    assert list(lab.study.models) == ["mean"] and "no test molecules" in lab.results.value
    assert "no test molecules" in lab.canvas.layout.title.text


def test_lab_trains_and_hands_over(fitted):
    lab = lab_of(fitted, ("mean", "ST", "MT", "F-MT"))
    lab.train()
    assert lab.train_button.disabled and not lab.cancel_button.disabled
    lab.wait()
    assert list(lab.study.models) == ["mean", "ST", "MT", "F-MT"] and lab.study.model == "F-MT"
    assert "Done in" in lab.status.value and "mean of all" in lab.results.value
    assert not lab.train_button.disabled and lab.cancel_button.disabled
    for name in ("learning curves", "errors by labels", "errors"):
        lab.shown.value = name
        assert len(lab.canvas.data) > 0
        assert lab.listed.layout.display == "none" and lab.drawing.layout.display == "block"
    errors = lab.figure()
    lab.shown.value = "table"
    assert lab.listed.layout.display == "block" and lab.drawing.layout.display == "none"
    assert [one.name for one in lab.figure().data] == [one.name for one in errors.data]


@pytest.mark.parametrize("names", [("ST",), ("MT",)])
def test_cancelled_training_leaves_nothing(fitted, names):
    lab = lab_of(fitted, names, 100_000)
    lab.train()
    time.sleep(0.6)
    lab.train()
    assert "cancel it first" in lab.status.value
    start = time.perf_counter()
    lab.cancel()
    lab.wait(10)
    assert time.perf_counter() - start < 2.5
    assert lab.study.models == {} and "cancelled" in lab.status.value
    assert not lab.train_button.disabled
    assert not [one for one in threading.enumerate() if one is lab._thread and one.is_alive()]


def test_a_cancelled_training_leaves_the_drawings_of_the_last(fitted):
    lab = lab_of(fitted, ("mean", "ST"))
    lab.train()
    lab.wait()
    last, results = lab.training, lab.results.value
    lab.max_steps.value = 100_000
    lab.train()
    lab.cancel()
    lab.wait(10)
    assert "cancelled" in lab.status.value and lab.training is last and lab.results.value == results
    for name in ("errors", "learning curves"):
        lab.shown.value = name
        assert len(lab.canvas.data) > 0


def test_an_error_at_the_end_of_a_training_is_said(fitted, monkeypatch):
    lab = lab_of(fitted, ("mean",))
    lab.train()
    lab.wait()
    monkeypatch.setattr(widgets, "errors_html", lambda errors: 1 / 0)
    lab.train()
    lab.wait()
    assert "ZeroDivisionError" in lab.status.value and not lab.train_button.disabled


def test_failed_training_says_why(fitted):
    table, split, _ = fitted
    Y = table.Y.copy()
    Y[split.train, 0] = 1.0
    lab = FusionLab(Study(replace(table, Y=Y), split, background=False))
    lab.max_steps.value, lab.d_h.value = 20, 16
    lab.train()
    lab.wait()
    assert "fb-error" in lab.status.value and "gap" in lab.status.value and lab.study.models == {}
    lab.study.properties = []
    lab.train()
    assert "Pick at least one property" in lab.status.value


# Manners


@pytest.mark.parametrize("kind", VIEWS, ids=lambda kind: kind.__name__)
def test_empty_untrained_and_single_property(kind, fitted):
    table, split, _ = fitted
    for study in (
        Study(background=False),
        Study(table, background=False),
        Study(table, split, background=False),
    ):
        view = kind(study)
        assert "Unexpected" not in texts_of(view), texts_of(view)[-500:]
        view.figure()
        view.close()
    one = table.only(["dipole"])
    model = SingleTask(replace(TINY, min_steps=20, max_steps=20), n_jobs=1, progress=False).fit(one, split)
    view = kind(Study(one, split, {"ST": model}, background=False))
    assert "Unexpected" not in texts_of(view)
    if kind is ConnectionExplorer:
        assert "single block" in view.status.value


@pytest.mark.parametrize("kind", VIEWS, ids=lambda kind: kind.__name__)
def test_hostile_names_stay_text(kind, hostile):
    study = Study(*hostile, background=False)
    study.selection = [0, 1]
    view = kind(study)
    if isinstance(view, LeverageExplorer):
        view.click_bar(view.bars[0])
    if isinstance(view, ConnectionExplorer):
        view.open_pair(*view.found.names[:2])
    if isinstance(view, MoleculeInspector):
        view.pick()
    if isinstance(view, FusionLab):
        for name, box in view.models.items():
            box.value = name in ("mean", "ST")
        view.d_h.value, view.max_steps.value = 16, 20
        view.train()
        view.wait()
        assert "Done in" in view.status.value
    if isinstance(view, EmbeddingExplorer):
        study.hovered = 3
        view.second.value = HOSTILE
        view.paste("CCO")
    assert "Unexpected" not in texts_of(view)
    for text in (texts_of(view), str(view.figure().to_plotly_json()["layout"].get("annotations"))):
        assert "<img" not in text and "<script>alert" not in text and "<b>F" not in text
    page = view.to_html()
    assert HOSTILE not in page and "<script>alert(2)" not in page


@pytest.mark.parametrize("kind", VIEWS, ids=lambda kind: kind.__name__)
def test_what_is_drawn_is_what_a_page_loads(kind, study):
    """A page draws a boxed figure from the widget's stored state, so that state must hold the drawing."""
    view = kind(study)
    if isinstance(view, MoleculeInspector):
        view.first.value = "CCO"
    stored = view.canvas._widget_data
    assert [one["type"] for one in stored] == [trace.type for trace in view.canvas.data]
    assert kind is FusionLab or len(stored) > 0


def test_closed_views_stop_listening(study):
    view = EmbeddingExplorer(study)
    before = view.panel.value
    view.close()
    study.hovered = 3
    assert view.panel.value == before


def test_controls_have_names(study):
    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    for kind in VIEWS:
        for one in walk(kind(study)):
            if type(one).__name__ in ("Dropdown", "Button", "Checkbox", "BoundedIntText", "SelectionSlider"):
                assert one.description, (kind, one)
            if type(one).__name__ == "Text":
                assert one.description or one.placeholder


def test_only_a_study_is_accepted(fitted):
    with pytest.raises(InputError, match="must be a Study"):
        EmbeddingExplorer(fitted[0])


def test_explore(fitted, study, tmp_path):
    board = explore(study)
    assert list(board.views) == [0]
    board.tabs.selected_index = 4
    assert list(board.views) == [0, 4] and isinstance(board.views[4], ConnectionExplorer)
    assert explore(fitted[0], fitted[1], fitted[2]["F-MT"]).study.model == "FusedMultiTask"
    path = tmp_path / "few.csv"
    fitted[0].to_frame().to_csv(path, index=False)
    assert explore(path).study.table.task_names == fitted[0].task_names
    board.close()


def test_importing_the_package_loads_no_widgets():
    code = "import sys, fusionbook; print([m for m in ('ipywidgets', 'plotly', 'anywidget') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_news_of_points_that_are_gone_is_left_aside():
    """The pointer may be over a figure while another one is drawn in its place."""
    canvas = widgets.new_canvas(300, widgets.Fitter())
    widgets.show_figure(canvas, go.Figure(go.Scatter(x=[1, 2, 3], y=[1, 2, 3])))
    heard = []
    canvas.data[0].on_hover(lambda trace, points, state: heard.append(points.point_inds))

    def page_says(trace, point):
        points = {"trace_indexes": [trace], "point_indexes": [point], "xs": [1], "ys": [1]}
        told = {"event_type": "plotly_hover", "selector": None, "device_state": None, "points": points}
        canvas.set_state({"_js2py_pointsCallback": told})

    page_says(0, 2)
    assert heard == [[2]]
    page_says(1, 0)  # a trace of the drawing before
    page_says(0, 3)  # a point of the drawing before
    assert heard == [[2]]
    widgets.clear_canvas(canvas, "nothing")
    page_says(0, 0)
    page_says(4, 0)
    assert heard == [[2]]


def test_nothing_is_sent_that_json_does_not_know(study):
    """Only arrays of one dimension travel as bytes; a missing number anywhere else must be null."""
    view = ConnectionExplorer(study)
    for shown in ("all connections", "transfer", "all connections"):
        view.shown.value = shown
        for part in (view.canvas._data, view.canvas._layout):
            json.dumps(
                part,
                default=lambda one: 0 if np.ndim(one) == 1 else np.asarray(one).tolist(),
                allow_nan=False,
            )
    sent = without_nan(
        {"z": np.array([[1.0, np.nan]]), "args": ({"x": [np.inf, 2.0]},), "y": np.array([np.nan])}
    )
    assert (
        sent["z"].tolist() == [[1.0, None]]
        and sent["args"] == [{"x": [None, 2.0]}]
        and np.isnan(sent["y"][0])
    )

"""The dashboard as a person uses it: pick, train, point, lasso, slide, click, inspect, export; in a real JupyterLab."""

import math
import re

import pandas as pd
import pytest

PICKED = ["gap", "dipole", "logp"]

CELLS = [
    """
import ipywidgets
from fusionbook import explore
from fusionbook.datasets import load_xtb
from fusionbook.molecules import sparsify, split_molecules
from fusionbook.widgets import Study
""",
    """
full = load_xtb().select(range(150)).only(["gap", "dipole", "polarisability", "solvation", "logp"])
table = sparsify(full, 0.8, seed=0)
study = Study(table, split_molecules(table, seed=0))
""",
    """
told = ipywidgets.HTML("nothing is selected in Python")
study.observe(lambda change: setattr(told, "value", f"{len(change['new'])} selected in Python"), "selection")
board = explore(study)
ipywidgets.VBox([told, board])
""",
]


@pytest.fixture(scope="module")
def lab(open_notebook):
    """The dashboard, with nothing picked or trained yet."""
    return open_notebook("dashboard", CELLS)


@pytest.fixture(scope="module")
def trained(lab):
    """The dashboard after three properties were picked and small models trained, by hand."""
    pick_three(lab)
    train_small(lab)
    return lab


@pytest.fixture
def fresh(trained):
    """The trained dashboard with nothing selected or pointed at."""
    trained.page.mouse.move(2, 2)
    trained.python("None", "study.selection, study.hovered, study.k = (), None, None")
    return trained


def pick_three(lab):
    """Untick two of five properties."""
    lab.tab("Properties")
    for name in ("polarisability", "solvation"):
        lab.view.get_by_label(name, exact=True).uncheck()
    lab.says("3 of 5 properties picked")


def train_small(lab):
    """Train three kinds of model with few steps."""
    lab.tab("Train")
    lab.number("width of the networks", 16)
    lab.number("steps a network", 40)
    lab.view.get_by_role("button", name="Train", exact=True).click()
    ended = lab.view.locator(".fb-status", has_text="Done in").or_(lab.view.locator(".fb-status.fb-error"))
    ended.first.wait_for(timeout=120_000)
    assert "Done in" in ended.first.inner_text()
    assert lab.kernel_errors() == []


def loneliest(points, area):
    """The point that is farthest from all others, and not at the edge."""
    inside = [
        one
        for one in points
        if 15 < one["x"] - area["x"] < area["width"] - 15 and 15 < one["y"] - area["y"] < area["height"] - 15
    ]

    def distance(one):
        return min(math.dist((one["x"], one["y"]), (o["x"], o["y"])) for o in points if o is not one)

    return max(inside, key=distance)


def fits(figure):
    """Is the figure as wide as its box, once plotly has heard of the box's width?"""

    def gap():
        drawn, room = figure.plot.evaluate(
            "gd => [gd._fullLayout.width, gd.closest('.jupyter-widgets.widget-container').clientWidth]"
        )
        return 0 <= room - drawn <= 16

    figure.lab.becomes(gap, True, 10)
    return gap()


def rectangle(points, area):
    """Corners of a rectangle of the plot that cuts between two molecules, and the rows in it."""
    across = sorted(one["x"] for one in points)
    cuts = range(len(across) // 10, len(across) * 9 // 10)
    cut = max(cuts, key=lambda i: across[i + 1] - across[i])
    assert across[cut + 1] - across[cut] > 2, "the molecules leave no gap that a mouse can follow"
    right = (across[cut] + across[cut + 1]) / 2
    left = (area["x"] + across[0]) / 2
    top = (area["y"] + min(one["y"] for one in points)) / 2
    bottom = (area["y"] + area["height"] + max(one["y"] for one in points)) / 2
    rows = sorted(one["row"] for one in points if one["x"] < right)
    return [{"x": x, "y": y} for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))], rows


def test_properties_are_picked(lab, quiet):
    quiet(lab)
    lab.tab("Properties")
    assert "5 of 5" in lab.view.inner_text() or "3 of 5" in lab.view.inner_text()
    pick_three(lab)
    assert lab.python("list(study.properties)") == PICKED
    lab.figure("heatmap")
    lab.shot("1-properties")


def test_models_are_trained(trained, quiet):
    lab = quiet(trained)
    assert lab.python("list(study.models)") == ["mean", "ST", "F-MT"]
    assert lab.python("[one.name for one in study.models['F-MT'].tasks_]") == PICKED
    lab.tab("Train")
    lab.view.get_by_role("button", name="table", exact=True).click()
    lab.view.get_by_text("mean of all").wait_for()
    text = lab.view.inner_text()
    assert all(name in text for name in PICKED)
    lab.shot("2-train-table")
    lab.view.get_by_role("button", name="errors", exact=True).click()
    assert lab.view.get_by_role("button", name="Train", exact=True).is_enabled()
    assert lab.view.get_by_role("button", name="Cancel", exact=True).is_disabled()
    lab.figure("scatter")
    lab.shot("2-train-errors")
    lab.view.get_by_role("button", name="learning curves", exact=True).click()
    lab.figure("scatter")
    lab.shot("2-train-curves")
    lab.view.get_by_role("button", name="errors", exact=True).click()


def test_a_training_is_cancelled(fresh, quiet):
    lab = quiet(fresh)
    before = lab.python("{name: id(model) for name, model in study.models.items()}")
    lab.tab("Train")
    lab.number("steps a network", 100_000)
    lab.view.get_by_role("button", name="Train", exact=True).click()
    lab.says("molecules/s")
    assert lab.python("6 * 7") == 42
    lab.shot("2-train-running")
    lab.view.get_by_role("button", name="Cancel", exact=True).click()
    lab.says("Training was cancelled; nothing was kept.")
    assert lab.python("{name: id(model) for name, model in study.models.items()}") == before
    assert lab.view.get_by_role("button", name="Train", exact=True).is_enabled()
    lab.number("steps a network", 40)


def test_pointer_and_lasso_on_two_maps(fresh, quiet):
    lab = quiet(fresh)
    lab.tab("Embeddings")
    lab.choose("model", "F-MT")
    lab.choose("beside", "dipole")
    lab.says("molecules have a value")
    figure = lab.figure("scattergl")
    for subplot in ("", "2"):
        lab.becomes(
            lambda subplot=subplot: sorted(one["row"] for one in figure.points(subplot)), list(range(150))
        )
    figure.settle()

    target = loneliest(figure.points(), figure.area())
    figure.point_at(target)
    lab.python_becomes("study.hovered", target["row"])
    heading = lab.view.locator("h3", has_text=f"molecule {target['row']}")
    heading.wait_for()
    picture = lab.view.locator(".fb-panel svg").first
    assert picture.is_visible() and picture.bounding_box()["width"] > 100
    lab.shot("3-embeddings-hover")

    corners, wanted = rectangle(figure.points(), figure.area())
    figure.lasso(corners)
    lab.python_becomes("list(study.selection)", wanted)
    lab.page.get_by_text(f"{len(wanted)} selected in Python").wait_for()
    lab.says(f"{len(wanted)} molecules selected")
    figure.shows(0, wanted)
    figure.shows(1, wanted)
    lab.shot("3-embeddings-lasso")

    lab.python("None", "study.selection = [3, 14]")
    lab.page.get_by_text("2 selected in Python").wait_for()
    figure.shows(1, [3, 14])
    figure.shows(0, [3, 14])
    lab.choose("beside", "nothing")


def test_found_and_pasted_molecules(fresh, quiet):
    lab = quiet(fresh)
    lab.tab("Embeddings")
    smiles = lab.python("study.table.smiles[7]")
    lab.type(lab.view.get_by_placeholder("[OX2H]"), smiles)
    lab.python_becomes("list(study.selection)", [7])
    paste = lab.view.get_by_label("paste", exact=True)
    lab.type(paste, "CCCCCCO")
    lab.says("The star is the pasted molecule")
    lab.view.get_by_text("nearest molecules").wait_for()
    star = "gd => gd._fullData[4].x.length"
    plot = lab.figure("scattergl").plot
    lab.becomes(lambda: plot.evaluate(star), 6)
    lab.shot("3-embeddings-pasted")
    lab.type(paste, "C1CC")
    lab.says("'C1CC' cannot be read")
    lab.becomes(lambda: plot.evaluate(star), 0)
    lab.shot("3-embeddings-bad-smiles")
    lab.view.get_by_role("button", name="Clear", exact=True).click()
    lab.python_becomes("list(study.selection)", [])
    assert paste.input_value() == ""


def test_rank_slider_and_feature_card(fresh, quiet):
    lab = quiet(fresh)
    lab.tab("Leverage")
    lab.says("carries most")
    figure = lab.figure("bar")
    ranks = lab.python("study.spectrum('F-MT').ranks")
    handle = lab.view.locator(".noUi-handle")
    handle.focus()
    handle.press("Home")
    lab.python_becomes("study.k", ranks[0])
    handle.press("ArrowRight")
    lab.python_becomes("study.k", ranks[1])
    lab.says(f"Rank {ranks[1]} of {ranks[-1]}")
    ask = "gd => { const bar = gd._fullData[0]; return {x: [...bar.x], y: [...bar.y]}; }"
    lab.becomes(lambda: round(sum(figure.plot.evaluate(ask)["x"]), 5), ranks[1])  # the masses sum to the rank
    figure.settle()
    bars = figure.plot.evaluate(ask)

    figure.click_at(figure.place(bars["x"][-1] / 2, bars["y"][-1]))
    lab.view.locator("h3", has_text=", feature ").wait_for()
    block, feature = lab.python("(study.block, study.feature)")
    assert block == lab.python("study.spectrum('F-MT').frame(study.k)['mass'].idxmax()")
    assert f"{block}, feature {feature}" in lab.view.locator(".fb-panel").first.inner_text()
    assert lab.view.locator(".fb-pictures svg").count() >= 4
    assert lab.view.get_by_text("strongest correlations").count() == 1
    lab.shot("4-leverage-card")


def test_connections_open_two_spaces(fresh, quiet):
    lab = quiet(fresh)
    lab.tab("Connections")
    lab.view.get_by_role("button", name="all connections", exact=True).click()
    lab.says("clear chance and floor")
    figure = lab.figure("heatmap", "scatter")
    lab.shot("5-connections")
    figure.click_at(figure.place(2, 0))
    lab.view.locator("h3", has_text=f"{PICKED[0]} → {PICKED[2]}").wait_for()
    lab.says("Every molecule has the same colour on both maps")
    assert "linear map" in lab.view.inner_text()
    figure = lab.figure("scattergl", "scattergl")
    corners, wanted = rectangle(figure.points("2"), figure.area("2"))
    figure.lasso(corners)
    lab.python_becomes("list(study.selection)", wanted)
    figure.settle()
    lab.shot("5-connections-two-spaces")

    lab.view.get_by_role("button", name="all connections", exact=True).click()
    lab.says("clear chance and floor")
    figure = lab.figure("heatmap", "scatter")
    remains = (
        "gd => [gd._fullLayout.selections.length, gd._fullData.filter(one => one.selectedpoints).length]"
    )
    lab.becomes(lambda: figure.plot.evaluate(remains), [0, 0])
    lab.shot("5-connections-network")
    middle = figure.plot.evaluate(
        "gd => { const t = gd._fullData.find(one => one.name === 'connections' && one.x.length);"
        " return t ? [t.x[0], t.y[0]] : null; }"
    )
    edges = lab.python("board.views[4].edges[['source', 'target']].values.tolist()")
    assert (middle is None) == (edges == [])
    if edges:
        figure.click_at(figure.place(*middle, "2"))
        lab.view.locator("h3", has_text=" → ".join(edges[0])).wait_for()
        lab.python_becomes("list(board.views[4].pair)", edges[0])
    lab.view.get_by_role("button", name="transfer", exact=True).click()
    lab.says("what each space knows of each property")
    lab.figure("heatmap", "heatmap")
    lab.shot("5-connections-transfer")
    lab.view.get_by_role("button", name="all connections", exact=True).click()


def test_a_pasted_molecule_is_inspected(fresh, quiet):
    lab = quiet(fresh)
    lab.tab("Molecule")
    first = lab.view.get_by_label("molecule", exact=True)
    lab.type(first, "CCCCO")
    lab.view.get_by_text("CCCCO: predictions").wait_for()
    lab.view.get_by_text("Applicability domain").wait_for()
    text = lab.view.inner_text()
    assert all(name in text for name in PICKED) and text.count("±") >= 9, (
        "an interval for each model and property"
    )
    assert lab.view.locator(".fb-panel svg").first.is_visible()
    total = lab.figure("bar").plot.evaluate("gd => gd._fullData[0].x.reduce((a, b) => a + b, 0)")
    explained = lab.python(
        "float(__import__('fusionbook').explain.explain(study.models['F-MT'], 'CCCCO', 'gap').blocks.sum())"
    )
    assert abs(total - explained) < 1e-4 * max(1, abs(explained))
    lab.type(lab.view.get_by_label("beside", exact=True), "c1ccccc1C(=O)N")
    lab.view.get_by_text("c1ccccc1C(=O)N: predictions").wait_for()
    assert fits(lab.figure("bar", "bar"))
    lab.shot("6-molecule-two")
    lab.type(lab.view.get_by_label("beside", exact=True), "")
    lab.view.get_by_text("c1ccccc1C(=O)N: predictions").wait_for(state="detached")
    assert fits(lab.figure("bar")), "the figure takes the room of the second molecule"
    lab.type(first, "C1CC(")
    lab.says("'C1CC(' cannot be read")
    assert lab.view.get_by_text("CCCCO: predictions").count() == 0, "numbers of another molecule"
    lab.shot("6-molecule-bad-smiles")
    lab.python("None", "study.selection = [5, 6]")
    lab.view.get_by_role("button", name="From selection", exact=True).click()
    lab.view.get_by_text(f"{lab.python('study.table.smiles[6]')}: predictions").wait_for()
    assert first.input_value() == lab.python("study.table.smiles[5]")


def test_the_selection_is_exported(fresh, quiet):
    lab = quiet(fresh)
    lab.tab("Embeddings")
    save = lab.view.get_by_role("button", name="Save CSV", exact=True)
    save.click()
    lab.says("Nothing is selected")
    lab.python("None", "study.selection = [2, 30, 149]")
    lab.says("3 molecules selected")
    save.click()
    lab.says("3 molecules written to selection.csv")
    frame = pd.read_csv(lab.folder / "selection.csv")
    assert frame["row"].tolist() == [2, 30, 149]
    assert frame["smiles"].tolist() == lab.python("[study.table.smiles[i] for i in (2, 30, 149)]")
    assert {"gap (eV)", "gap (eV) by F-MT", "gap (eV) by ST"} <= set(frame.columns)
    lab.view.get_by_role("button", name="Save HTML", exact=True).click()
    lab.says("This view was written to EmbeddingExplorer.html")
    page = (lab.folder / "EmbeddingExplorer.html").read_text(encoding="utf-8")
    assert "Map of the molecules" in page and 'src="http' not in page
    figure = lab.figure("scattergl")
    figure.point_at({"x": figure.area()["x"] + 30, "y": figure.area()["y"] + 30})
    with lab.page.expect_download() as download:
        figure.plot.locator('.modebar-btn[data-title^="Download"]').click()
    assert "<svg" in download.value.path().read_text(encoding="utf-8")[:500]
    for kind in ("PNG", "SVG"):
        with lab.page.expect_download() as download:
            lab.view.get_by_role("button", name=kind, exact=True).click()
        assert download.value.suggested_filename == f"EmbeddingExplorer.{kind.lower()}"
        picture = download.value.path().read_bytes()
        if kind == "SVG":
            assert picture.startswith(b"<svg") and re.search(
                rb"<rect[^>]*fill: rgb\(255, 255, 255\)", picture
            )
        else:
            assert picture.startswith(b"\x89PNG") and len(picture) > 20_000
            width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
            drawn = figure.plot.evaluate("gd => [gd._fullLayout.width, gd._fullLayout.height]")
            assert [width, height] == [2 * one for one in drawn], "twice the size on the page"


# Keyboard and room


FOCUSED = """view => {
  const one = document.activeElement;
  if (!view.contains(one)) return null;
  const labels = [...(one.labels || [])].map(label => label.textContent.trim()).filter(Boolean);
  const told = one.getAttribute('aria-labelledby');
  const name = one.getAttribute('aria-label') || labels[0] || (told && document.getElementById(told)?.textContent)
    || one.textContent.trim() || one.title || '';
  const style = getComputedStyle(one);
  const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
  return {tag: one.tagName.toLowerCase(), kind: one.type || one.className, name, seen, title: one.title};
}"""

CONTROLS = """view => [...view.querySelectorAll('select, input, button, .noUi-handle')]
  .filter(one => one.getClientRects().length && !one.disabled && !one.closest('.js-plotly-plot') && one.type !== 'hidden').length"""

EXPECTED = {
    "Properties": {"preset", "filter", "gap", "logp", "Save HTML"},
    "Train": {"split", "seed", "Train", "errors", "steps a network"},
    "Embeddings": {"model", "map", "beside", "colour", "of", "find by", "this", "paste", "Save CSV"},
    "Leverage": {"model", "rank k", "CUR rule", "card of", "feature"},
    "Connections": {"model", "measure", "two spaces", "from", "to", "Open"},
    "Molecule": {"molecule", "beside", "explain", "of", "From selection"},
}


@pytest.mark.parametrize("title", EXPECTED)
def test_every_control_is_reached_by_tab(fresh, quiet, title):
    lab = quiet(fresh)
    lab.tab(title)
    lab.figure()
    first = lab.view.locator("select:visible, input:visible, button:visible").first
    first.focus()
    reached = [lab.view.evaluate(FOCUSED)]
    for _ in range(lab.view.evaluate(CONTROLS) + 10):
        lab.page.keyboard.press("Tab")
        focused = lab.view.evaluate(FOCUSED)
        if focused is None:
            break
        reached.append(focused)
    names = {one["name"] for one in reached}
    assert len(reached) >= lab.view.evaluate(CONTROLS), reached
    assert EXPECTED[title] <= names, names
    assert [one for one in reached if not one["name"]] == []
    assert [one for one in reached[1:] if not one["seen"]] == []  # the first was not reached by a key


def test_the_figure_fills_its_box(fresh, quiet):
    lab = quiet(fresh)
    for title in EXPECTED:
        lab.tab(title)
        assert fits(lab.figure()), title
    lab.tab("Connections")
    for shown in ("transfer", "all connections"):  # the panel beside the figure goes, and comes back
        lab.view.get_by_role("button", name=shown, exact=True).click()
        lab.says("what each space knows" if shown == "transfer" else "clear chance and floor")
        assert fits(lab.figure("heatmap")), shown


def test_every_view_fits_a_laptop(fresh, quiet):
    lab = quiet(fresh)
    room = lab.page.locator(".jp-NotebookPanel:visible .jp-Notebook").first.bounding_box()
    for title in EXPECTED:
        lab.tab(title)
        lab.figure()
        assert lab.page.locator(".fb-view").first.bounding_box()["height"] <= room["height"], title


# Colours


CONTRAST = r"""view => {
  const parse = text => { const m = text.match(/[\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const over = (a, b) => [0, 1, 2].map(i => a[3] * a[i] + (1 - a[3]) * b[i]).concat(1);
  const ground = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reduceRight((below, above) => over(above, below), [255, 255, 255, 1]);
  };
  const light = colour => {
    const [r, g, b] = colour.map(c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)]; return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); };
  const seen = [];
  const look = (element, text, property) => {
    if (!element.getClientRects().length || getComputedStyle(element).visibility === 'hidden') return;
    const paper = ground(element);
    const ink = over(parse(getComputedStyle(element)[property]), paper);
    seen.push({text: text.trim().slice(0, 40), ratio: ratio(ink, paper), what: element.className.baseVal ?? element.className});
  };
  const walker = document.createTreeWalker(view, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (node.data.trim() && !parent.closest('svg, style, script, button, option')) look(parent, node.data, 'color');
  }
  const drawn = '.xtick text, .ytick text, .x2tick text, .y2tick text, [class^="g-"] text, .legendtext, .cbaxis text';
  for (const one of view.querySelectorAll('.js-plotly-plot')) {
    for (const text of one.querySelectorAll(drawn)) look(text, text.textContent, 'fill');
  }
  return seen;
}"""

TABS = ("Properties", "Train", "Embeddings", "Leverage", "Connections", "Molecule")


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_every_view_is_readable(fresh, quiet, theme):
    lab = quiet(fresh)
    lab.theme(theme)
    poor = []
    try:
        for title in TABS:
            lab.tab(title)
            if title == "Embeddings":
                lab.python("None", "study.hovered = 5")
            if title == "Leverage":
                lab.python_becomes("hasattr(board.views[3], 'bars')", True)
                lab.python("None", "board.views[3].click_bar(board.views[3].bars[-1])")
                lab.view.locator("h3", has_text=", feature ").wait_for()
            if title == "Molecule":
                lab.type(lab.view.get_by_label("molecule", exact=True), "CCCCO")
                lab.view.get_by_text("CCCCO: predictions").wait_for()
            lab.figure()
            found = lab.view.evaluate(CONTRAST)
            assert len(found) >= 8, f"{title}: {found}"
            poor += [
                (title, one["text"], round(one["ratio"], 2), one["what"])
                for one in found
                if one["ratio"] < 4.5
            ]
            lab.shot(f"{TABS.index(title) + 1}-{title.lower()}-{theme.lower()}")
    finally:
        lab.theme("Light")
    assert poor == []

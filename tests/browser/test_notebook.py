"""Views in a notebook: a restarted kernel, a reloaded page, and a table whose names want to be run."""

import shutil
from pathlib import Path

HOSTILE = "<img src=x onerror=alert(1)>"
TUTORIALS = Path(__file__).resolve().parents[2] / "nbs" / "tutorials"

FITTING = """
from fusionbook.fusion import FusedMultiTask, SingleTask
from fusionbook.training import TrainConfig

config = TrainConfig(d_h=16, head_width=16, min_steps=30, max_steps=30)
single = SingleTask(config, n_jobs=1, progress=False).fit(table, split)
fused = FusedMultiTask(single).fit(table, split)
"""

LINKED = [
    """
import time
import ipywidgets
from fusionbook.datasets import load_xtb
from fusionbook.molecules import split_molecules
from fusionbook.widgets import EmbeddingExplorer, Study

table = load_xtb().select(range(80)).only(["gap", "logp"])
split = split_molecules(table, seed=0)
""",
    FITTING,
    """
born = time.time()
study = Study(table, split, {"F-MT": fused})
ipywidgets.VBox([EmbeddingExplorer(study), EmbeddingExplorer(study)])
""",
]


HOSTILE_CELLS = [
    f"""
from fusionbook import explore
from fusionbook.datasets import load_xtb
from fusionbook.molecules import read_molecules, split_molecules
from fusionbook.widgets import Study

frame = load_xtb().select(range(100)).only(["gap", "dipole"]).to_frame()
frame = frame.set_axis(["smiles", {HOSTILE!r}, "dipole (D)"], axis=1).assign(name={HOSTILE!r})
frame.to_csv("table.csv", index=False)
table = read_molecules("table.csv", tasks=[{HOSTILE!r}, "dipole"])
split = split_molecules(table, seed=0)
""",
    FITTING,
    f"""
study = Study(table, split, {{{HOSTILE!r}: single, "F-MT": fused}})
board = explore(study)
board
""",
]

# Rows that the maps of the page show as selected, one text a map.
SHOWN = """() => [...document.querySelectorAll('.js-plotly-plot')].filter(gd => gd._fullData && gd._fullData.length).map(
  gd => [0, 1].flatMap(i => [...(gd._fullData[i].selectedpoints || [])].map(k => Number(gd._fullData[i].customdata[k])))
    .sort((a, b) => a - b).join())"""


def test_restarted_kernel_and_reloaded_page(open_notebook, quiet):
    lab = quiet(open_notebook("restart", LINKED))
    lab.says("molecules have a value")
    lab.figure("scattergl")
    lab.python("None", "study.selection = [4, 40]")
    lab.page.wait_for_function(f"({SHOWN})().join(' ') === '4,40 4,40'")
    born = lab.python("born")

    lab.restart_and_run_all()
    assert lab.python("born") > born, "a new kernel"
    lab.says("molecules have a value")
    lab.page.wait_for_function(f"({SHOWN})().join('') === '' && ({SHOWN})().length === 2")
    figure = lab.figure("scattergl")
    target = figure.points()[0]
    figure.point_at(target)
    lab.page.locator("h3", has_text="molecule ").nth(1).wait_for()
    row = lab.python("study.hovered")
    assert [one.split(" ")[1] for one in lab.page.locator("h3", has_text="molecule ").all_inner_texts()] == [
        str(row)
    ] * 2
    lab.shot("7-restarted")

    lab.python("None", "study.selection = [5]")
    lab.save()
    lab.reload()
    lab.page.wait_for_function(f"({SHOWN})().join(' ') === '5 5'")
    lab.figure("scattergl")
    lab.shot("7-reloaded")


def test_the_start_page_answers_two_questions(open_notebook, quiet, server):
    """The path of clicks that the page itself describes."""
    shutil.copytree(TUTORIALS.parent / "images", server.work / "images", dirs_exist_ok=True)
    lab = quiet(open_notebook("start", TUTORIALS / "start.ipynb"))
    assert lab.python("list(board.study.selection)") == [3, 14], "the last cell selected two molecules"

    lab.tab("Connections")
    lab.says("Most alike")
    told = lab.view.locator(".fb-status").first.inner_text()
    found = "board.views[4].found.to_frame()"
    pair = lab.python(f"{found}.where({found} < 0.999999).stack().idxmax()")
    assert all(name in told.split("(")[0] for name in pair)
    figure = lab.figure("heatmap", "scatter")
    i, j = (lab.python("board.views[4].found.names").index(name) for name in pair)
    figure.click_at(figure.place(j, i))
    lab.view.locator("h3", has_text=f"{pair[0]} → {pair[1]}").wait_for()

    lab.tab("Embeddings")
    lab.choose("colour", "spread")
    # The line of status says the same of every colour, so the view is asked which it has drawn.
    lab.python_becomes("'spread' in board.views[2].colour.title", True)
    lab.choose("find by", "highest")
    lab.type(lab.view.get_by_label("this", exact=True), "10")
    lab.says("10 molecules with the highest homo (eV), spread")
    unsure = lab.python("board.study.spread('F-MT')['homo'].nlargest(10).index.tolist()")
    assert lab.python("list(board.study.selection)") == unsure
    lab.figure("scattergl").shows(0, sorted(unsure))
    lab.view.locator("h3", has_text=f"molecule {unsure[0]}").wait_for()
    lab.shot("9-start-unsure")

    lab.tab("Molecule")
    lab.view.get_by_role("button", name="From selection", exact=True).click()
    lab.view.get_by_text("Applicability domain").nth(1).wait_for()
    assert lab.view.get_by_label("molecule", exact=True).input_value() == lab.python(
        f"board.study.table.smiles[{unsure[0]}]"
    )
    lab.shot("9-start-molecule")


def test_hostile_names_are_text(open_notebook, quiet):
    lab = quiet(open_notebook("hostile", HOSTILE_CELLS))
    for title in ("Properties", "Train", "Embeddings", "Leverage", "Connections", "Molecule"):
        lab.tab(title)
        if title == "Embeddings":
            lab.choose("beside", HOSTILE)
            lab.says("molecules have a value")
            lab.python("None", "study.hovered = 3")
            lab.view.locator("h3", has_text="molecule 3").wait_for()
        if title == "Leverage":
            lab.says("carries most")
            lab.python("None", f"board.views[3].click_bar({HOSTILE!r})")
            lab.view.locator("h3", has_text=f"{HOSTILE}, feature").wait_for()
        if title == "Connections":
            lab.says("clear chance and floor")
            figure = lab.figure("heatmap", "scatter")
            figure.click_at(figure.place(1, 0))
            lab.view.locator("h3", has_text=f"{HOSTILE} → dipole").wait_for()
        if title == "Molecule":
            lab.type(lab.view.get_by_label("molecule", exact=True), "CCO")
            lab.view.get_by_text("CCO: predictions").wait_for()
        if title == "Train":
            lab.number("steps a network", 5)
            lab.number("width of the networks", 8)
            lab.view.get_by_label("F-MT: fused").uncheck()
            lab.view.get_by_role("button", name="Train", exact=True).click()
            lab.says("Done in")
        lab.figure()
        text = lab.view.evaluate("view => view.textContent")
        assert HOSTILE in text or "<img src=x" in text, title
        assert lab.page.locator("img[src='x']").count() == 0, title
        lab.shot(f"8-hostile-{title.lower()}")

    lab.python("None", "board.open_tab(2).to_html('page.html')")
    page = lab.context.new_page()
    told = []
    page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    page.goto((lab.folder / "page.html").as_uri())
    page.wait_for_selector(".js-plotly-plot .nsewdrag")
    assert told == [] and page.locator("img[src='x']").count() == 0
    assert "<img src=x" in page.inner_text("body")
    page.close()

"""Run tutorials and keep one static picture for each figure, so that they read well without a kernel.

    python .ci/pictures.py nbs/tutorials/exploring_embeddings.ipynb ...

Needs Chromium (or BROWSER_PATH) and playwright, which the extra [dev] brings.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import nbformat
import plotly
from nbconvert.preprocessors import ExecutePreprocessor
from playwright.sync_api import sync_playwright

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
LIMIT = 150_000  # bytes of a picture
DRAW = """async ([figure, width, height]) => {
  const options = {format: 'png', width, height};
  return (await Plotly.toImage({data: figure.data, layout: figure.layout}, options)).split(',')[1];
}"""


def picture(page, figure: dict) -> str:
    """Draw a figure; returns the PNG in base64."""
    layout = figure["layout"]
    png = page.evaluate(DRAW, [figure, layout.get("width", 700), layout.get("height", 450)])
    if len(png) * 3 / 4 > LIMIT:
        raise SystemExit(f"a picture takes {len(png) * 3 / 4:,.0f} bytes; make the figure smaller")
    return png


def is_widget(output: dict) -> bool:
    return WIDGET in output.get("data", {})


def make_static(notebook, page) -> None:
    """Replace figures by pictures; drop what needs a kernel."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if not is_widget(output)]
        for output in cell.outputs:
            if PLOTLY in output.get("data", {}):
                output["data"] = {"image/png": picture(page, output["data"][PLOTLY])}
    notebook.metadata.pop("widgets", None)


def main(paths: list[str]) -> None:
    browser = os.environ.get("BROWSER_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("no Chromium found; install it, or name it in BROWSER_PATH")
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        page = playwright.chromium.launch(executable_path=browser, args=flags).new_page()
        page.add_script_tag(path=str(script))
        for path in paths:
            notebook = nbformat.read(path, 4)
            where = {"metadata": {"path": str(Path(path).parent)}}
            ExecutePreprocessor(timeout=600, kernel_name="python3").preprocess(notebook, where)
            make_static(notebook, page)
            nbformat.write(notebook, path)
            print(f"{path}: {len(json.dumps(notebook)):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])

"""A real JupyterLab on loopback and a real Chromium.

The suite is skipped, with the reason, where Chromium or JupyterLab is missing; where the variable CI is set, a missing one is
an error, so that a green run there means that the page was clicked. Chromium is looked for under its usual names, or taken
from BROWSER_PATH. Screenshots go to tests/browser/artefacts, or to the folder named in BROWSER_ARTEFACTS.

Positions on a figure are never written down: they are asked of plotly in the page. Nothing waits for a fixed time except
where it says why.
"""

import ast
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # Chromium's sandbox needs rights that a container does not give
    "--use-angle=swiftshader",  # WebGL, which the maps use, without a graphics card
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
SCREEN = {"width": 1366, "height": 768}  # a small laptop
PATIENCE = 120_000  # ms; a wait ends as soon as its condition holds

# What JupyterLab itself writes to the console, each with the reason why it is no error of the views.
ALLOWED_ERRORS = ()


# Screenshots and the end of a test


ARTEFACTS = Path(os.environ.get("BROWSER_ARTEFACTS", Path(__file__).parent / "artefacts"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep what the page showed when a test failed."""
    report = yield
    if call.when != "teardown" and report.failed:
        for lab in getattr(item.module, "open_pages", []):
            try:
                lab.shot(f"failed-{item.name}")
            except Exception as error:  # a picture that cannot be taken must not hide why the test failed
                report.sections.append(("no picture", str(error)[:300]))
    return report


# What has to be installed


def missing_piece():
    """Say what the suite needs and this machine does not have, or return None."""
    for module in ("playwright", "jupyterlab"):
        if importlib.util.find_spec(module) is None:
            return f"the browser suite needs {module}: pip install -e '.[lab,dev]'"
    if find_browser() is None:
        return f"the browser suite needs Chromium: none of {', '.join(BROWSERS)} is here, nor BROWSER_PATH"
    return None


def find_browser():
    """Path of Chromium, or None."""
    named = os.environ.get("BROWSER_PATH")
    if named:
        return named if Path(named).is_file() else None
    found = (shutil.which(name) for name in BROWSERS)
    return next((path for path in found if path), None)


@pytest.fixture(scope="session")
def needs():
    """Skip, or fail in CI, where a piece is missing."""
    reason = missing_piece()
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so the suite must run)", pytrace=False)
    pytest.skip(reason)


# JupyterLab


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def server_environment(home, token):
    """Environment of a server that reads no settings of the person who runs the tests, and asks nothing of the network."""
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab"
    for plugin, content in {
        "apputils-extension/notification": {
            "fetchNews": "false",
            "checkForUpdates": False,
            "doNotDisturbMode": True,
        },
        "notebook-extension/tracker": {"windowingMode": "none"},
    }.items():
        path = settings / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    own = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "IPYTHONDIR": home / "ipython",
        "JUPYTER_TOKEN": token,
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTEST"))}
    return kept | {name: str(value) for name, value in own.items()}


def server_address(home, process, seconds=90):
    """Wait until the server answers, and return its address."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        for path in (home / "runtime").glob(f"jpserver-{process.pid}.json"):
            try:
                about = json.loads(path.read_text())
                request = urllib.request.Request(
                    f"{about['url']}api/status", headers={"Authorization": f"token {about['token']}"}
                )
                with urllib.request.urlopen(request, timeout=5):
                    return about["url"].rstrip("/")
            except (OSError, ValueError):
                pass
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{(home / 'server.log').read_text()[-2000:]}")


@pytest.fixture(scope="session")
def server(needs, tmp_path_factory):
    """One JupyterLab with a token for all tests; its notebooks lie in a temporary folder."""
    home = tmp_path_factory.mktemp("jupyterlab")
    work = home / "work"
    work.mkdir()
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={free_port()}"]
    command += ["--expose-app-in-browser", f"--ServerApp.root_dir={work}"]
    command += [
        "--ServerApp.shutdown_no_activity_timeout=600",
        "--MappingKernelManager.cull_idle_timeout=300",
    ]
    command += [
        "--MappingKernelManager.cull_connected=True"
    ]  # nothing is left behind if the tests are killed
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    with open(home / "server.log", "w") as log:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=server_environment(home, token),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield SimpleNamespace(address=server_address(home, process), token=token, work=work)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


@pytest.fixture(scope="module")
def browser(needs):
    """Chromium. It is closed at the end of each module: playwright keeps an event loop in this thread while it runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        yield made
        made.close()


@pytest.fixture(scope="module")
def open_notebook(browser, server, request):
    """A function that writes cells to a notebook, opens it on a page of its own, and runs it."""
    pages = request.module.open_pages = []

    def open_one(name, cells, run=True):
        lab = Lab(browser, server, name, cells)
        pages.append(lab)
        if run:
            lab.run_all()
        return lab

    yield open_one
    for lab in pages:
        lab.close()


@pytest.fixture
def quiet():
    """A function that keeps watch over a page: no error in console or kernel, no dialog, no request to another machine."""
    watched = []

    def watch(lab):
        watched.append((lab, len(lab.errors), len(lab.dialogs)))
        return lab

    yield watch
    for lab, errors, dialogs in watched:
        assert lab.kernel_errors() == []
        assert lab.errors[errors:] == []
        assert lab.dialogs[dialogs:] == []
        assert lab.strangers == set()


# A page without JupyterLab


@pytest.fixture
def free():
    """A port of loopback that nobody listens on."""
    return free_port()


@pytest.fixture
def watched_page(browser):
    """A function that opens a page; it returns the page, its errors, and requests to any other address than the page's own."""
    contexts = []

    def open_one(address):
        context = browser.new_context(viewport=SCREEN)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        errors, strangers = [], set()
        page.on("console", lambda message: message.type == "error" and errors.append(message.text[:500]))
        page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
        server = address.split("/?")[0]
        own = (server, server.replace("http", "ws", 1), "blob:", "data:", "about:")
        page.on("request", lambda one: one.url.startswith(own) or strangers.add(one.url[:200]))
        page.goto(address)
        return page, errors, strangers

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture
def shot():
    """A function that keeps a screenshot of a page."""

    def keep(page, name):
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ARTEFACTS / f"{name}.png")

    return keep


# A page


READY = """async () => {
  const app = window.jupyterapp;
  await app.restored;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.revealed;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
}"""

# What the kernel writes to its error stream while nobody runs a cell: a handler that failed says so only there.
LISTEN = """() => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  window.kernelErrors = [];
  kernel.iopubMessage.connect((_, message) => {
    const {name, text, traceback} = message.content;
    if (name === 'stderr') window.kernelErrors.push(text);
    if (message.header.msg_type === 'error') window.kernelErrors.push(traceback.join(' '));
  });
}"""

ASK = """async ([code, expression]) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const request = {code, silent: true, store_history: false, user_expressions: {value: expression}};
  const reply = (await kernel.requestExecute(request).done).content;
  if (reply.status !== 'ok') return {status: 'error', text: `${reply.ename}: ${reply.evalue}`};
  const found = reply.user_expressions.value;
  return found.status === 'ok' ? {status: 'ok', text: found.data['text/plain']}
    : {status: 'error', text: `${found.ename}: ${found.evalue}`};
}"""

FAILED_CELLS = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells;
  return cells.flatMap(cell => cell.cell_type === 'code' ? cell.toJSON().outputs : [])
    .filter(one => one.output_type === 'error').map(one => `${one.ename}: ${one.evalue}`);
}"""


def write_notebook(path, cells):
    """Write code cells as a notebook, or copy the notebook whose path is given, without its outputs."""
    import nbformat

    if isinstance(cells, Path):
        notebook = nbformat.read(cells, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        return nbformat.write(notebook, path)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, path)


class Lab:
    """One notebook in JupyterLab, in a browser context of its own."""

    def __init__(self, browser, server, name, cells):
        self.folder = server.work / name
        self.folder.mkdir()
        write_notebook(self.folder / f"{name}.ipynb", cells)
        self.errors, self.dialogs, self.strangers = [], [], set()
        self.context = browser.new_context(viewport=SCREEN, accept_downloads=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self._listen(server.address)
        where = f"{server.address}/lab/workspaces/{name}/tree/{name}/{name}.ipynb"
        self._where = f"{where}?reset&token={server.token}"
        self.reload()

    def reload(self):
        """Open the notebook's page, or open it again, and wait for JupyterLab and the kernel."""
        self.page.goto(self._where)
        self.page.wait_for_selector(".jp-Notebook")
        self.page.evaluate(READY)
        self.page.evaluate(LISTEN)
        self.command("application:toggle-left-area")

    def save(self):
        """Save the notebook."""
        self.command("docmanager:save")

    def _listen(self, address):
        """Note what no page should do."""
        page = self.page
        page.on("console", lambda message: message.type == "error" and self._note(message.text))
        page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        own = (address, address.replace("http", "ws", 1), "blob:", "data:", "about:")
        page.on(
            "request", lambda request: request.url.startswith(own) or self.strangers.add(request.url[:200])
        )

    def _note(self, text):
        if not any(re.search(pattern, text) for pattern, _ in ALLOWED_ERRORS):
            self.errors.append(text[:500])

    def kernel_errors(self):
        """Tracebacks that the kernel wrote since this was asked last."""
        told = "".join(self.page.evaluate("() => window.kernelErrors.splice(0)"))
        if "Traceback" not in told:
            return []
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        (ARTEFACTS / "kernel-errors.txt").write_text(told, encoding="utf-8")
        return [told[-1500:]]

    def close(self):
        """Stop the kernel and close the page."""
        try:
            self.page.evaluate(
                "() => window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()"
            )
        finally:
            self.context.close()

    def shot(self, name):
        """Keep a screenshot."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"{name}.png")

    # JupyterLab and its kernel

    def command(self, name, **arguments):
        """Run a command of JupyterLab."""
        return self.page.evaluate(
            "async ([name, given]) => { await window.jupyterapp.commands.execute(name, given); }",
            [name, arguments],
        )

    def run_all(self):
        """Run all cells, wait for the kernel, and bring the dashboard to the top of the window."""
        self.command("notebook:run-all-cells")
        failed = self.page.evaluate(FAILED_CELLS)
        assert failed == [], failed
        self.page.wait_for_selector(".fb-view", state="attached")
        self.page.locator(".fb-view").first.evaluate("view => view.scrollIntoView({block: 'start'})")

    def restart_and_run_all(self):
        """Restart the kernel and run the notebook again, as the toolbar's button does."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:restart-run-all'); }")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.wait_for_function(
            """() => {
              const panel = window.jupyterapp.shell.currentWidget;
              const counts = panel.content.model.sharedModel.cells.map(cell => cell.execution_count);
              const idle = panel.sessionContext.session?.kernel?.status === 'idle';
              return idle && counts.every((count, i) => count === i + 1);
            }"""
        )
        assert self.page.evaluate(FAILED_CELLS) == []

    def python(self, expression, code=""):
        """Run `code` in the kernel, then hand over the value of `expression`, a thing that `repr` writes in full."""
        answer = self.page.evaluate(ASK, [code, expression])
        assert answer["status"] == "ok", answer["text"]
        return ast.literal_eval(answer["text"])

    def becomes(self, ask, wanted, seconds=PATIENCE / 1000):
        """Call `ask` until it answers what is wanted; kernel and page need their time, the more so on a busy machine."""
        until = time.monotonic() + seconds
        while (found := ask()) != wanted and time.monotonic() < until:
            self.page.wait_for_timeout(100)
        assert found == wanted

    def python_becomes(self, expression, wanted):
        """Wait until an expression has the wanted value in the kernel."""
        self.becomes(lambda: self.python(expression), wanted)

    def theme(self, name):
        """Change JupyterLab's theme: "Light" or "Dark"."""
        self.command("apputils:change-theme", theme=f"JupyterLab {name}")
        self.page.wait_for_function(
            "name => document.body.dataset.jpThemeName === name", arg=f"JupyterLab {name}"
        )

    # The dashboard

    @property
    def view(self):
        """The view whose tab is open."""
        return self.page.locator(".fb-view:not(:has(.fb-view)):visible").first

    def tab(self, title):
        """Open a tab of the dashboard and wait for its view."""
        self.page.locator(".lm-TabBar-tab", has_text=title).click()
        self.page.locator(".lm-TabBar-tab.lm-mod-current", has_text=title).wait_for()
        self.view.locator(".fb-status").first.wait_for(state="attached")

    def says(self, text):
        """Wait until the line of status of the open view holds this text."""
        self.view.locator(".fb-status", has_text=text).first.wait_for()

    def choose(self, label, option):
        """Choose from a labelled menu of the open view."""
        self.view.get_by_label(label, exact=True).select_option(label=option)

    def type(self, box, text):
        """Type into a box and press Enter."""
        box.fill(text)
        box.press("Enter")

    def number(self, label, value):
        """Type a number into a labelled box of the open view."""
        self.type(self.view.get_by_label(label, exact=True), str(value))

    def figure(self, *types):
        """The figure of the open view, once plotly has drawn traces of these kinds and its place on the page is steady."""
        return Figure(self, list(types))


# A figure


DRAWN = """gd => {
  if (!gd._fullLayout || !gd.calcdata || !gd.querySelector('.main-svg')) return null;
  const box = gd.getBoundingClientRect();
  return [gd._fullLayout.width, gd._fullLayout.height, box.x, box.y, box.width,
          gd._fullData.map(trace => `${trace.type} ${(trace.x || []).length}`).join()].join(' ');
}"""

POINTS = """(gd, subplot) => {
  const [xa, ya] = [gd._fullLayout['xaxis' + subplot], gd._fullLayout['yaxis' + subplot]];
  const box = gd.getBoundingClientRect();
  const points = [];
  for (const trace of gd._fullData) {
    if (trace.visible !== true || !trace.customdata || trace.xaxis !== 'x' + subplot) continue;
    for (let i = 0; i < trace.x.length; i++) points.push({
      row: Number(trace.customdata[i]),
      x: box.x + xa._offset + xa.l2p(trace.x[i]), y: box.y + ya._offset + ya.l2p(trace.y[i]),
    });
  }
  return points;
}"""

AREA = """(gd, subplot) => {
  const [xa, ya] = [gd._fullLayout['xaxis' + subplot], gd._fullLayout['yaxis' + subplot]];
  const box = gd.getBoundingClientRect();
  return {x: box.x + xa._offset, y: box.y + ya._offset, width: xa._length, height: ya._length};
}"""

PLACE = """(gd, [subplot, x, y]) => {
  const [xa, ya] = [gd._fullLayout['xaxis' + subplot], gd._fullLayout['yaxis' + subplot]];
  const box = gd.getBoundingClientRect();
  return {x: box.x + xa._offset + xa.c2p(xa.d2c(x)), y: box.y + ya._offset + ya.c2p(ya.d2c(y))};
}"""


class Figure:
    """A plotly figure on the page; `subplot` is "" for the first pair of axes and "2" for the second."""

    def __init__(self, lab, types):
        self.lab, self.page = lab, lab.page
        self.plot = lab.view.locator(".js-plotly-plot:visible").first
        self.plot.wait_for()
        if types:
            lab.becomes(lambda: self.types()[: len(types)], types)
        self.settle()

    def settle(self, steady=3):
        """Wait until what is drawn has not changed for `steady` looks, 150 ms apart: plotly listens to the mouse only then."""
        until = time.monotonic() + PATIENCE / 1000
        last, same = None, 0
        while same < steady:
            assert time.monotonic() < until, "the figure did not come to rest"
            self.page.wait_for_timeout(150)
            now = self.plot.evaluate(DRAWN)
            same = same + 1 if now is not None and now == last else 0
            last = now

    def types(self):
        """Kinds of the traces."""
        return self.plot.evaluate("gd => (gd._fullData || []).map(trace => trace.type)")

    def points(self, subplot=""):
        """Row and place on the page of every molecule that is drawn."""
        return self.plot.evaluate(POINTS, subplot)

    def area(self, subplot=""):
        """Where a pair of axes lies on the page."""
        return self.plot.evaluate(AREA, subplot)

    def place(self, x, y, subplot=""):
        """Where a point given in data coordinates lies on the page."""
        return self.plot.evaluate(PLACE, [subplot, x, y])

    def shows(self, number, rows):
        """Wait until a map (0 or 1) shows these rows as selected: those of its two traces of molecules."""
        self.lab.becomes(lambda: self._selected(number), rows)

    def _selected(self, number):
        return self.plot.evaluate(
            """(gd, traces) => traces.flatMap(i => [...(gd._fullData[i].selectedpoints || [])]
              .map(k => Number(gd._fullData[i].customdata[k]))).sort((a, b) => a - b)""",
            [2 * number, 2 * number + 1],
        )

    def point_at(self, place):
        """Move the pointer to a place, in two steps, as a hand does."""
        self.page.mouse.move(place["x"] - 4, place["y"] - 4)
        self.page.mouse.move(place["x"], place["y"], steps=3)

    def click_at(self, place):
        """Click at a place. plotly ignores a click without a hover before it, and it looks for one every 50 ms or so."""
        self.point_at(place)
        self.page.wait_for_timeout(300)
        self.page.mouse.click(place["x"], place["y"])

    def lasso(self, corners):
        """Draw a closed line with the mouse."""
        first = corners[0]
        self.page.mouse.move(first["x"], first["y"])
        self.page.mouse.down()
        for corner in [*corners[1:], first]:
            self.page.mouse.move(corner["x"], corner["y"], steps=8)
        self.page.mouse.up()

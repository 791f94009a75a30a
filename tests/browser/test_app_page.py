"""`fusionbook app` as a person uses it: the dashboard without a notebook, and without a network."""

import re
import socket
import subprocess
import sys
import time

import pytest

MAIN = [sys.executable, "-c", "import sys; from fusionbook.app import main; sys.exit(main())"]


@pytest.fixture
def address(needs, tmp_path, free):
    """A served dashboard of a small table and model: its address with the token."""
    pytest.importorskip("voila", reason="needs the extra [app]")
    from fusionbook.datasets import load_xtb

    load_xtb().select(range(80)).only(["gap", "logp"]).to_frame().to_csv(tmp_path / "table.csv", index=False)
    small = [
        "--width",
        "16",
        "--epochs",
        "1",
        "--min-steps",
        "20",
        "--max-steps",
        "20",
        "--jobs",
        "1",
        "--quiet",
    ]
    train = [*MAIN, "train", "table.csv", "--model", "fused", "--out", "model", *small]
    subprocess.run(train, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    serve = [*MAIN, "app", "table.csv", "model", "--no-browser", "--port", str(free)]
    with open(tmp_path / "server.log", "w") as log:
        server = subprocess.Popen(serve, cwd=tmp_path, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        told = ""
        while server.poll() is None and "token=" not in told:
            told = server.stdout.readline()
        until = time.monotonic() + 90
        while server.poll() is None and time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", free)) == 0:
                    break
            time.sleep(0.1)
        assert server.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
        yield told.strip()
    finally:
        server.terminate()
        server.wait(20)


def test_the_page_needs_no_network(address, browser, watched_page, shot):
    page, errors, strangers = watched_page(address)
    page.wait_for_selector(".lm-TabBar-tab")
    view = page.locator(".fb-view:not(:has(.fb-view)):visible").first
    view.locator(".fb-status", has_text="molecules have a value").wait_for()
    page.wait_for_selector(".js-plotly-plot .nsewdrag")
    for title, words in (("Leverage", "carries most"), ("Connections", "clear chance and floor")):
        page.locator(".lm-TabBar-tab", has_text=title).click()
        view.locator(".fb-status", has_text=words).wait_for()
    shot(page, "9-app")
    assert errors == []
    page.goto(
        re.sub(r"/\?", "/voila/render/nothing.ipynb?", address)
    )  # a page that says no needs no network either
    assert re.search("40[34]", page.inner_text("body"))
    assert strangers == set()

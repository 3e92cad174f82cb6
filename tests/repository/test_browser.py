"""Notebooks in a real JupyterLab, in a headless Chromium: every cell runs, and figures follow their sliders.

Skipped where Chromium, its driver, JupyterLab or selenium is missing. Nothing is written into the repository: the
server works on a copy of the notebooks in a temporary folder.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from tests.conftest import REPOSITORY
from tests.repository.chromium import chromium, missing

MISSING = missing("jupyterlab", "ipywidgets")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"a browser test needs {', '.join(MISSING)}, not found here")

SECONDS = 240  # for all cells of one notebook; an idle machine needs less than 40
# All cells in the page at once, not only those in view; no questions about news from the network.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# The notebook by its name: of a page opened before, JupyterLab first shows that one again.
READY = """
    const app = window.jupyterapp, panel = app && app.shell.currentWidget;
    return Boolean(panel && panel.context && panel.context.path === arguments[0]
        && panel.content && panel.content.model && panel.content.model.cells.length
        && panel.sessionContext && panel.sessionContext.isReady && panel.sessionContext.session
        && panel.sessionContext.session.kernel && panel.sessionContext.session.kernel.status === 'idle');
"""
CELLS = """
    return Array.from(window.jupyterapp.shell.currentWidget.content.model.cells)
        .filter(cell => cell.type === 'code')
        .map(cell => ({count: cell.executionCount,
                       error: cell.outputs.toJSON().filter(o => o.output_type === 'error').map(o => o.evalue)}));
"""
IMAGE_BYTES = """
    const done = arguments[1];
    fetch(arguments[0].src).then(r => r.arrayBuffer()).then(b => done(Array.from(new Uint8Array(b)).join(' ')));
"""


@pytest.fixture(scope="module")
def server(own_cache, tmp_path_factory) -> Iterator[str]:
    """Address (with its token) of a JupyterLab on a copy of the notebooks without their outputs."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    (root / "notebooks").mkdir()
    for source in (REPOSITORY / "notebooks").glob("*.ipynb"):
        content = nbformat.read(source, as_version=4)
        for cell in content.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(content, root / "notebooks" / source.name)
    for name, values in SETTINGS.items():
        file = root / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    with open(root / "server.log", "wb") as log:
        process = _start(root, port, token, log)
        try:
            _wait_for_server(process, f"http://127.0.0.1:{port}/api?token={token}", root / "server.log")
            yield f"http://127.0.0.1:{port}/lab/tree/notebooks/{{}}?token={token}"
        finally:
            process.terminate()  # the server ends its kernels
            process.wait(timeout=30)


def _start(root: Path, port: int, token: str, log) -> subprocess.Popen:
    folders = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    folders |= {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
    folders |= {"PARTLIB_DATA": "data", "PARTLIB_RUNS": "runs"}
    environment = {**os.environ, **{name: str(root / folder) for name, folder in folders.items()}}
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    environment |= {"PARTLIB_PRESET": "ci", "PYTHONPATH": path}
    options = [f"--ServerApp.port={port}", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"]
    options += ["--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.port_retries=0"]
    return subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=subprocess.STDOUT
    )


def _wait_for_server(process: subprocess.Popen, address: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine: no proxy
    for _ in range(120):
        if process.poll() is not None:
            break
        try:
            opener.open(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"JupyterLab did not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless Chromium with a profile of its own."""
    with chromium("window-size=1400,1000", seconds=30) as driver:
        yield driver


@contextmanager
def screenshot_of_failure(driver, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        path = Path(tempfile.mkdtemp(prefix="partlib-browser-")) / f"{name}.png"
        driver.save_screenshot(str(path))
        raise AssertionError(f"{name}: {type(error).__name__}: {error}; the page is in {path}") from error


def run_all_cells(driver, server: str, name: str) -> None:
    """Open a notebook, run it, and return when all of its cells have; the first error ends the wait."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(server.format(f"{name}.ipynb"))
    shown = f"notebooks/{name}.ipynb"
    WebDriverWait(driver, 60).until(lambda d: d.execute_script(READY, shown), f"no {shown} with a kernel in JupyterLab")
    assert not any(cell["count"] for cell in driver.execute_script(CELLS))
    driver.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def finished(d) -> bool:
        cells = d.execute_script(CELLS)
        errors = [error for cell in cells for error in cell["error"]]
        assert not errors, errors[0]
        return all(cell["count"] for cell in cells)

    WebDriverWait(driver, SECONDS, 1).until(finished, "cells that have not run")


def move_first_slider(driver) -> tuple[str, str]:
    """The bytes of the picture beside the first slider of the notebook, before and after one step of the slider."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    picture = WebDriverWait(driver, 30).until(
        lambda d: d.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output img.widget-image"), "no interactive figure"
    )[0]
    handle = driver.find_element(By.CSS_SELECTOR, ".jp-OutputArea-output .widget-slider .noUi-handle")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle)
    before = driver.execute_async_script(IMAGE_BYTES, picture)
    handle.send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(driver, 30).until(
        lambda d: d.execute_async_script(IMAGE_BYTES, picture) != before, "the picture does not follow its slider"
    )
    return before, driver.execute_async_script(IMAGE_BYTES, picture)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["00_start_here", "01_data", "03_features"])
def test_notebook_runs_in_jupyterlab_and_its_figure_follows_a_slider(server, browser, name):
    with screenshot_of_failure(browser, name):
        run_all_cells(browser, server, name)
        before, after = move_first_slider(browser)
        assert before != after
        assert min(len(before.split()), len(after.split())) > 5000  # bytes: both are pictures

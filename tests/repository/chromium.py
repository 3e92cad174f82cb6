"""What the tests in a headless Chromium share: the browser, a server of a folder, waiting, and why they are skipped."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")


def missing(*packages: str) -> list[str]:
    """Packages, and programs, that such a test needs and that are not here."""
    found = [name for name in ("selenium", *packages) if find_spec(name) is None]
    return found + ([] if CHROMIUM else ["Chromium"]) + ([] if DRIVER else ["chromedriver"])


@contextmanager
def chromium(*arguments: str, seconds: float) -> Iterator[Any]:
    """The driver of a headless Chromium with a profile of its own; scripts may take so many seconds."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    shared = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-proxy-server")
    for argument in (*shared, *arguments):
        options.add_argument(f"--{argument}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "localhost,127.0.0.1")
        driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        driver.set_script_timeout(seconds)
        try:
            yield driver
        finally:
            driver.quit()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def served(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """The address of a folder that a server on this machine offers, without a slash at its end."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def wait(browser: Any, condition: Any, message: str, seconds: float = 60) -> Any:
    """What a condition on the browser returns as soon as that is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, 0.1).until(condition, message)

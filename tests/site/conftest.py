"""The documentation's site, as `make site` builds it, and a browser in which it is opened."""

import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from browsing import chromium, resize
from checkouts import ROOT


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.site)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", folder], cwd=ROOT, check=True)
    return folder


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def opened():
    """A browser for all tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(opened):
    """A browser of a laptop's size, whose console is empty, and still has no errors when the test ends."""
    resize(opened, 1300, 900)
    opened.get("about:blank")
    opened.get_log("browser")
    yield opened
    assert [said["message"] for said in opened.get_log("browser") if said["level"] in ("SEVERE", "WARNING")] == []

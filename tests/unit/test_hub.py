"""Agents on the Hugging Face Hub: pushed to, and loaded from, a local server that answers as the Hub does."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import yaml

import gla
from gla.options import ConfigError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PUSHED = """
import gla
agent = gla.load("grid")
print(agent.push_to_hub("me/my-grid"))
other = gla.load("hf://me/my-grid")
print(other.name, other.config == agent.config, other.acting == agent.acting)
print(len(other.learn("gla/GridWorld-v0", episodes=1, seeds=2, conditions=["agent"])))
"""


class Hub(BaseHTTPRequestHandler):
    """One repository of models, in memory. Paths and answers are those that huggingface_hub asks for and expects."""

    def log_message(self, *_):
        pass

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, body: object, status: int = 200, **headers: str) -> None:
        self.answer(json.dumps(body).encode(), status, **headers)

    def missing(self) -> None:
        self.json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    def do_POST(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(self.path)
        if self.headers.get("Authorization") != "Bearer secret":
            return self.json({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            return self.json({"url": f"{self.server.address}/me/my-grid", "name": "me/my-grid", "id": "me/my-grid"})
        if self.path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if self.path.endswith("/preupload/main"):
            files = json.loads(sent)["files"]
            return self.json(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        if self.path.endswith("/commit/main"):
            for line in map(json.loads, sent.decode().splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return self.json({"commitUrl": f"{self.server.address}/me/my-grid/commit/{COMMIT}", "commitOid": COMMIT})
        self.missing()

    def do_GET(self):
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/me/my-grid"):
            listed = [
                {"rfilename": name, "path": name, "type": "file", "size": len(x), "oid": hashlib.sha1(x).hexdigest()}
                for name, x in self.server.files.items()
            ]
            return self.json(listed if "/tree/" in path else {"id": "me/my-grid", "sha": COMMIT, "siblings": listed})
        name = path.partition(f"/me/my-grid/resolve/{COMMIT}/")[2]
        if name not in self.server.files:
            return self.missing()
        body = self.server.files[name]
        self.answer(body, X_Repo_Commit=COMMIT, ETag=f'"{hashlib.sha1(body).hexdigest()}"')

    do_HEAD = do_GET


@contextmanager
def served():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.address = f"http://127.0.0.1:{server.server_port}"
        server.files, server.asked = {}, []
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


REFUSED = """
import gla
from gla.files import CorruptFile
from gla.options import ConfigError
for name in ("hf://me/other", "hf://no repository"):
    try:
        gla.load(name)
    except ConfigError as error:
        print(error)
try:
    gla.load("hf://me/my-grid@main")
except CorruptFile as error:
    print(error)
try:
    gla.load("grid").push_to_hub("me/my-grid")
except ConfigError as error:
    print(error)
"""


def _run(code, server, folder, **env):
    own = {
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(folder),
        "HF_TOKEN": "secret",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | own | env, capture_output=True, text=True, timeout=120
    )


def test_an_agent_is_pushed_and_loaded_again(tmp_path):
    with served() as server:
        done = _run(PUSHED, server, tmp_path)
        assert done.returncode == 0, done.stderr
        address, loaded, rows = done.stdout.splitlines()
    assert address.endswith(f"/me/my-grid/commit/{COMMIT}") and loaded == "my-grid True True" and rows == "2"
    assert server.files.keys() == {"agent.json", "acting.json", "weights.safetensors", "README.md"}
    shipped = gla.SHIPPED / "grid"
    assert all(server.files[path.name] == path.read_bytes() for path in shipped.iterdir())
    assert yaml.safe_load(server.files["README.md"].decode().split("---")[1])["library_name"] == "gla"


def test_what_the_hub_lacks_or_refuses_is_said_in_a_sentence_and_altered_weights_are_not_loaded(tmp_path):
    with served() as server:
        server.files = {path.name: path.read_bytes() for path in (gla.SHIPPED / "grid").iterdir()}
        server.files["weights.safetensors"] += b" "
        done = _run(REFUSED, server, tmp_path, HF_TOKEN="other")
        assert done.returncode == 0, done.stderr
    missing, malformed, altered, refused = done.stdout.splitlines()
    assert missing.startswith("hf://me/other: 404") and missing.endswith("(expected hf://OWNER/REPOSITORY of an agent)")
    assert malformed.startswith("hf://no repository: ") and malformed.endswith(
        "(expected hf://OWNER/REPOSITORY of an agent)"
    )
    assert "weights.safetensors: not what" in altered
    assert refused.startswith("me/my-grid: ") and refused.endswith(
        "(expected OWNER/REPOSITORY that your token may write to)"
    )


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"huggingface_hub is not installed \(expected pip install"):
        gla.load("hf://me/my-grid")

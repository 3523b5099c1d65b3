# SPDX-License-Identifier: Apache-2.0
"""Datasets by hub id, from a stand-in of the Hugging Face Hub on this machine."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

INSPECT = "import sys; from smolvla_learning.dataset.commands import inspect; sys.exit(inspect())"
COMMITS = {"v3.0": "a" * 40, "main": "b" * 40, "half": "c" * 40}


class Hub:
    """Serves one repository, `lab/turns`, of three revisions.

    Args:
        folder: of the dataset that the tag v3.0 has; the main branch is one of version v2.1.

    Attributes:
        asked: paths of the files that were downloaded.
    """

    def __init__(self, folder: Path) -> None:
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        info = json.loads(files["meta/info.json"])
        old = {**files, "meta/info.json": json.dumps({**info, "codebase_version": "v2.1"})}
        self.trees = {
            COMMITS["v3.0"]: {**files, "README.md": b"about", "raw/video.bin": b"large"},
            COMMITS["main"]: {**old, "meta/info.json": old["meta/info.json"].encode()},
        }
        self.refs = {"v3.0": COMMITS["v3.0"], "main": COMMITS["main"]}
        self.asked: list[str] = []

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Answer a request with status, headers and content."""
        parts = unquote(urlsplit(path).path).strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            if parts[2:4] == ["lab", "locked"]:
                return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
            if parts[2:4] != ["lab", "turns"]:
                return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
            kind, revision = parts[4], parts[5] if len(parts) > 5 else "main"
            commit = self.refs.get(revision, revision)
            if commit not in self.trees:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            files = self.trees[commit]
            if kind == "tree":
                found = [
                    {"type": "file", "path": name, "size": len(content), "oid": commit}
                    for name, content in files.items()
                ]
                return 200, {}, json.dumps(found).encode()
            about = {"id": "lab/turns", "sha": commit, "siblings": []}
            about["siblings"] = [{"rfilename": name} for name in files]
            return 200, {}, json.dumps(about).encode()
        commit, name = self.refs.get(parts[4], parts[4]), "/".join(parts[5:])
        content = self.trees[commit][name]
        self.asked.append(name)
        etag = f'"{abs(hash((commit, name))):x}"'
        return 200, {"X-Repo-Commit": commit, "ETag": etag}, content


@pytest.fixture
def hub(recorded):
    hub = Hub(recorded)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = hub.get(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *about: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def inspect(hub, tmp_path):
    """Return a function that runs `inspect` with the stand-in; it gives status and text."""

    def run(*arguments: str, **environment: str) -> tuple[int, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "XDG_"))
        }
        done = subprocess.run(
            [sys.executable, "-c", INSPECT, *arguments],
            env={
                **kept,
                "HF_ENDPOINT": hub.url,
                "HF_HOME": str(tmp_path / "hf"),
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "HF_HUB_DISABLE_XET": "1",
                **environment,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_what_a_dataset_needs_is_downloaded_once(hub, inspect):
    status, text = inspect("lab/turns", "--deep")
    assert status == 0, text
    assert text.splitlines()[-1] == "sound"
    fetched = {name for name in hub.asked if name}
    assert "videos/observation.images.top/chunk-000/file-000.mp4" in fetched
    assert not fetched & {"README.md", "raw/video.bin"}
    hub.asked.clear()
    status, text = inspect("lab/turns", HF_HUB_OFFLINE="1")
    assert status == 0, text
    assert not hub.asked


def test_a_revision_is_asked_for_and_an_old_one_costs_one_small_file(hub, inspect):
    status, text = inspect("lab/turns@main")
    assert status == 2
    line = text.splitlines()[-1]
    assert "lab/turns: is a dataset of version v2.1" in line
    assert "lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=lab/turns" in line
    assert set(hub.asked) == {"meta/info.json"}


def test_without_the_tag_the_main_branch_is_taken(hub, inspect):
    hub.trees[COMMITS["main"]] = hub.trees[COMMITS["v3.0"]]
    del hub.refs["v3.0"]
    status, text = inspect("lab/turns")
    assert status == 0, text


def test_what_lerobot_has_downloaded_is_read_without_a_network(hub, inspect, tmp_path):
    cache = str(tmp_path / "hf/lerobot/hub")
    assert inspect("lab/turns", HF_HUB_CACHE=cache)[0] == 0
    hub.asked.clear()
    status, text = inspect("lab/turns", HF_HUB_OFFLINE="1")
    assert status == 0, text
    assert not hub.asked


def test_what_lerobot_has_stored_under_the_name_comes_first(hub, inspect, recorded, tmp_path):
    (tmp_path / "hf/lerobot/lab").mkdir(parents=True)
    (tmp_path / "hf/lerobot/lab/turns").symlink_to(recorded)
    status, text = inspect("lab/turns")
    assert status == 0, text
    assert not hub.asked


@pytest.mark.parametrize(
    ("source", "environment", "fragments"),
    [
        ("lab/nothing", {}, ["no folder of this name", "no such dataset", "hf auth login"]),
        ("lab/locked", {}, ["consent", "hf auth login"]),
        ("../turns", {}, ["no such folder", "no hub id like owner/name"]),
        ("lab/turns@v9", {}, ["no branch, tag or commit 'v9'"]),
        (
            "lab/turns@v3.0",
            {"HF_HUB_OFFLINE": "1"},
            ["hf download --repo-type dataset lab/turns --revision v3.0", "HF_HUB_OFFLINE"],
        ),
        (
            "lab/turns",
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            ["cannot be reached", "hf download --repo-type dataset lab/turns"],
        ),
    ],
)
def test_what_cannot_be_had_is_one_line_with_a_remedy(inspect, source, environment, fragments):
    status, text = inspect(source, **environment)
    assert status == 2
    (line,) = text.strip().splitlines()
    for fragment in fragments:
        assert fragment in line

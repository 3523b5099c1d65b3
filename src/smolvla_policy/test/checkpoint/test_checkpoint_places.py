# SPDX-License-Identifier: Apache-2.0
"""Where checkpoints are found: folders of trainings, and a stand-in for the hub."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from smolvla_policy.checkpoint.contents import read_contents

from smolvla_policy import CheckpointError, SmolVLAPolicy

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves a folder ``<owner>/<name>`` for each model, as the hub's three calls do."""

    def __init__(self, root: Path) -> None:
        self.root, self.sent = root, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def answer(self, body):
                path = self.path.partition("?")[0].strip("/")
                if path.startswith("api/models/"):
                    owner, name, call = path.removeprefix("api/models/").split("/")[:3]
                    folder = hub.root / owner / name
                    if not folder.is_dir():
                        return self.send_error(404)
                    found = [p for p in sorted(folder.rglob("*")) if p.is_file()]
                    content = {"id": f"{owner}/{name}", "sha": COMMIT, "siblings": []}
                    if call == "tree":
                        content = [
                            {
                                "type": "file",
                                "path": p.relative_to(folder).as_posix(),
                                "size": p.stat().st_size,
                                "oid": "0" * 40,
                            }
                            for p in found
                        ]
                    return self.send(json.dumps(content).encode(), body)
                repo, _, rest = path.partition("/resolve/")
                file = hub.root / repo / rest.partition("/")[2]
                if not file.is_file():
                    return self.send_error(404)
                if body:
                    hub.sent.append(file.relative_to(hub.root / repo).as_posix())
                return self.send(file.read_bytes(), body)

            def send(self, data, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hash(self.path) & 0xFFFFFFFF:040x}"')
                self.end_headers()
                if body:
                    self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, with an empty cache."""
    from huggingface_hub import constants

    served = Hub(tmp_path / "hub")
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        served.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield served
    served.server.shutdown()
    served.server.server_close()


def training(copy, folder: Path, *numbers: str, averaged: bool = False) -> None:
    """Lay out checkpoints of a training; each is told by its number of steps."""
    for number in numbers:
        place = folder / "checkpoints" / number / "pretrained_model"
        shutil.copytree(copy.folder, place)
        steps(place, int(number) // 100)
        if averaged:
            shutil.copytree(place, place.with_name("pretrained_model_ema"))
            steps(place.with_name("pretrained_model_ema"), 77)


def steps(folder: Path, value: int) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "num_steps": value}))


def taken(source) -> int:
    return read_contents(source).config.num_steps


def test_of_a_training_without_last_the_newest_is_taken(copy, tmp_path):
    training(copy, tmp_path / "run", "000300", "001200", "000900")
    contents = read_contents(tmp_path / "run")
    assert contents.config.num_steps == 12
    (note,) = contents.notes
    assert "001200 is taken, the newest of 3" in note
    before = note.rpartition(" give ")[2]
    assert taken(before) == 9
    assert read_contents(before).notes == ()
    assert taken(tmp_path / "run" / "checkpoints") == 12


def test_averaged_weights_are_told(copy, tmp_path):
    training(copy, tmp_path / "run", "000500", averaged=True)
    policy = SmolVLAPolicy.from_pretrained(tmp_path / "run")
    assert policy.config.num_steps == 5
    (note,) = policy.notes
    assert "plain weights are taken" in note
    averaged = read_contents(note.rpartition(" give ")[2])
    assert averaged.config.num_steps == 77
    assert averaged.notes == ()


def test_of_a_hub_repository_the_newest_checkpoint_is_taken(hub, copy, sample, want):
    training(copy, hub.root / "lab" / "arm", "000400", "001000")
    policy = SmolVLAPolicy.from_pretrained("lab/arm", dtype="float32")
    assert policy.config.num_steps == 10
    assert np.abs(policy.predict_chunk(**sample) - want).max() <= 1e-4
    assert [path for path in hub.sent if path.endswith("model.safetensors")] == [
        "checkpoints/001000/pretrained_model/model.safetensors"
    ]
    (note,) = policy.notes
    assert taken(note.rpartition(" give ")[2]) == 4


def test_a_checkpoint_of_a_hub_repository_by_its_number(hub, copy):
    training(copy, hub.root / "lab" / "arm", "000400", "001000", averaged=True)
    contents = read_contents("lab/arm/checkpoints/400")
    assert contents.config.num_steps == 4
    assert not any("001000" in path and path.endswith(".safetensors") for path in hub.sent)
    (note,) = contents.notes
    averaged = note.rpartition(" give ")[2]
    assert averaged == "lab/arm/checkpoints/000400/pretrained_model_ema"
    assert taken(averaged) == 77
    assert taken("lab/arm/checkpoints/last") == 10
    with pytest.raises(CheckpointError, match=r"no checkpoints/500; .* 000400, 001000"):
        taken("lab/arm/checkpoints/500")


def test_the_final_checkpoint_of_a_hub_repository_is_preferred(hub, copy):
    shutil.copytree(copy.folder, hub.root / "lab" / "arm")
    steps(hub.root / "lab" / "arm", 33)
    training(copy, hub.root / "lab" / "arm", "000400")
    assert taken("lab/arm") == 33
    assert not any("000400" in path for path in hub.sent if not path.endswith("/config.json"))
    assert taken("lab/arm/checkpoints/000400") == 4


def test_what_was_downloaded_is_found_without_the_network(hub, copy, monkeypatch):
    from huggingface_hub import constants

    training(copy, hub.root / "lab" / "arm", "000400", "001000")
    assert taken("lab/arm") == 10
    hub.server.shutdown()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert taken("lab/arm") == 10


MODEL = "Small-VLM"
"""Of the golden checkpoint no model is on the hub, so any name will do."""


def elsewhere(copy, path):
    """Let the checkpoint name its VLM and tokenizer by a path of another machine."""
    copy.config(vlm_model_name=path)
    copy.edit(
        "policy_preprocessor.json",
        lambda c: c["steps"][3]["config"].update(tokenizer_name=path),
    )
    shutil.move(copy.folder / "vlm", copy.folder.parent / "kept")
    return copy.folder.parent / "kept"


def cached(folder: Path, cache: Path, repo: str) -> None:
    """Put files into the hub's cache as a download would."""
    place = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)


PATHS = [
    f"/home/trainer/models/{MODEL}",
    f"/home/trainer/models/{MODEL}/",
    rf"C:\Users\trainer\{MODEL}",
    f"../models/{MODEL}",
    f"/data/hub/models--maker--{MODEL}/snapshots/5f2e",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("place", ["inside", "beside", "cache"])
def test_companions_by_the_models_name(copy, sample, want, tmp_path, monkeypatch, path, place):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    files = elsewhere(copy, path)
    if place == "cache":
        cached(files, tmp_path / "cache", f"maker/{MODEL}")
    else:
        home = copy.folder if place == "inside" else copy.folder.parent
        shutil.copytree(files, home / MODEL)
    assert np.abs(copy.load().predict_chunk(**sample) - want).max() <= 1e-4


@pytest.mark.parametrize("name", [f"/home/trainer/{MODEL}", f"maker/{MODEL}"])
def test_companions_of_another_revision_serve(copy, sample, want, tmp_path, monkeypatch, name):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached(elsewhere(copy, name), tmp_path / "cache", f"maker/{MODEL}")
    (tmp_path / "cache" / f"models--maker--{MODEL}" / "refs" / "main").rename(tmp_path / "v2")
    assert np.abs(copy.load().predict_chunk(**sample) - want).max() <= 1e-4


def test_the_remedy_for_missing_companions(copy, sample, want, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    files = elsewhere(copy, "/home/trainer/models/other_vlm")
    with pytest.raises(CheckpointError, match=r"'/home/trainer/models/other_vlm'") as caught:
        copy.load()
    named, _, rest = str(caught.value).partition("Put ")[2].partition(" of that model into ")
    assert named == "tokenizer.json and tokenizer_config.json"
    folder = Path(rest.partition("; or ")[0])
    folder.mkdir()
    for name in named.split(" and "):
        shutil.copy(files / name, folder)
    with pytest.raises(CheckpointError) as caught:
        copy.load()
    named, _, rest = str(caught.value).partition("Put ")[2].partition(" of that model into ")
    assert named == "config.json"
    Path(rest).mkdir()
    shutil.copy(files / named, rest)
    assert np.abs(copy.load().predict_chunk(**sample) - want).max() <= 1e-4


def test_the_usual_vlm_of_another_machine_with_weights_of_another_size(copy, sample, want):
    files = elsewhere(copy, "/home/trainer/SmolVLM2-500M-Video-Instruct")
    shutil.copytree(files, copy.folder / "tokenizer")
    with pytest.raises(CheckpointError, match="weights are of another size") as caught:
        copy.load()
    shutil.copytree(files, Path(str(caught.value).rpartition(" into ")[2]))
    assert np.abs(copy.load().predict_chunk(**sample) - want).max() <= 1e-4


@pytest.mark.parametrize("wish", ["nowhere/at/all", "."])
def test_a_tokenizer_that_is_asked_for_and_not_there(copy, wish, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"tokenizer '.*' is no file, no folder with"):
        copy.load(tokenizer=wish)

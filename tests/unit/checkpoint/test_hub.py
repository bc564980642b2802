"""Models of the Hub: from a server of our own that answers as the Hub does, on this machine."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from importlib import resources
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bounded import PATIENCE_S

import ecgfm
from ecgfm import CheckpointError, MissingExtraError
from ecgfm.checkpoint import fetch, hub_name
from ecgfm.checkpoint.hub import HubName

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DEMO = Path(str(resources.files("ecgfm") / "assets/demo"))


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for the repositories in `server.repos`: {owner/name: {file: bytes}}."""

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.asked.append((self.command, path))
        for repo, files in self.server.repos.items():
            if path == f"api/models/{repo}/tree/main":
                rows = [
                    {"type": "file", "path": name, "size": len(raw), "oid": sha(raw)} for name, raw in files.items()
                ]
                return self.send(200, json.dumps(rows).encode(), body)
            if path in (f"api/models/{repo}", f"api/models/{repo}/revision/main"):
                found = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                return self.send(200, json.dumps(found).encode(), body)
            if path.startswith(f"api/models/{repo}/"):
                return self.send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
            for name in files:
                if path in (f"{repo}/resolve/{revision}/{name}" for revision in ("main", COMMIT)):
                    headers = {"ETag": f'"{sha(files[name])}"', "X-Repo-Commit": COMMIT}
                    return self.send(200, files[name], body, headers)
        return self.send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

    def send(self, status, raw, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if body:
            self.wfile.write(raw)

    def log_message(self, *args):
        pass


def sha(raw):
    return hashlib.sha1(raw).hexdigest()


@pytest.fixture
def hub(tmp_path):
    """A server; hub.load(source) loads in a process that takes it for the Hub, and gives (status, out, err)."""
    pytest.importorskip("huggingface_hub", reason="needs the extra [hub]")
    demo = {name: (DEMO / name).read_bytes() for name in ("model.safetensors", "config.json")}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.repos = [], {"us/ours": demo}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.endpoint = f"http://127.0.0.1:{server.server_address[1]}"

    def load(source, **changes):
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(ecgfm.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
            **changes,
        }
        environment.pop("HF_HUB_OFFLINE", None)
        environment.update(changes)
        code = "import sys, ecgfm; m = ecgfm.load(sys.argv[1]); print(m.source); print(m.labels)"
        done = subprocess.run(
            [sys.executable, "-c", code, source],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=environment,
            cwd=tmp_path,
        )
        return done.returncode, done.stdout, done.stderr

    server.load = load
    yield server
    server.shutdown()
    server.server_close()


def test_a_directory_of_ours(hub):
    status, out, err = hub.load("us/ours")
    assert status == 0, err
    path, labels = out.splitlines()
    assert path.endswith("model.safetensors") and COMMIT in path
    assert eval(labels) == tuple(ecgfm.load(DEMO).labels)


def test_what_was_downloaded_is_not_downloaded_again_and_needs_no_network(hub):
    assert hub.load("us/ours")[0] == 0
    hub.asked.clear()
    assert hub.load("us/ours")[0] == 0
    assert not [path for method, path in hub.asked if method == "GET" and "resolve" in path]
    hub.repos.clear()
    for changes in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        status, out, err = hub.load("us/ours", **changes)
        assert status == 0 and out.splitlines()[0].endswith("model.safetensors"), err


def error_of(hub, source, **changes):
    status, out, err = hub.load(source, **changes)
    assert status == 1 and not out
    return err.splitlines()[-1]


def test_no_network_and_nothing_downloaded(hub):
    text = error_of(hub, "us/ours", HF_ENDPOINT="http://127.0.0.1:9")
    assert "us/ours: the Hub can't be reached" in text and "give the path of the file" in text
    text = error_of(hub, "us/ours:best.pt", HF_HUB_OFFLINE="1")
    assert "nothing was downloaded before" in text and "Download best.pt" in text


def test_the_settings_without_the_weights(hub):
    hub.repos["us/half"] = {"mimic_iv_ecg_finetuned.yaml": b"a: 1\n", "README.md": b"x"}
    text = error_of(hub, "us/half")
    assert "there is mimic_iv_ecg_finetuned.yaml but no mimic_iv_ecg_finetuned.pt" in text
    text = error_of(hub, "us/half:mimic_iv_ecg_finetuned.pt")
    assert "has no mimic_iv_ecg_finetuned.pt, only mimic_iv_ecg_finetuned.yaml" in text


def test_one_of_several(hub):
    hub.repos["us/many"] = {"a.pt": b"not a model", "b.pt": b"x", "label_def.csv": b"name\n"}
    text = error_of(hub, "us/many")
    assert "several models: a.pt, b.pt" in text and "us/many:a.pt" in text
    assert "a.pt: neither a .pt file of torch.save nor safetensors" in error_of(hub, "us/many:a.pt")
    assert [path for _, path in hub.asked if path.endswith("resolve/main/label_def.csv")]


def test_weights_without_their_description(hub):
    """Those that hold it themselves do without config.json; others are refused."""
    hub.repos["us/bare"] = {"model.safetensors": (DEMO / "model.safetensors").read_bytes()}
    assert "config.json: there is no such file" in error_of(hub, "us/bare")


def test_what_is_not_there(hub):
    assert "neither a file or directory here nor a repository of the Hub" in error_of(hub, "us/absent")
    assert "no such revision" in error_of(hub, "us/ours@v9")


def test_a_real_checkpoint(hub, shared):
    hub.repos["us/pt"] = {"finetuned.pt": (shared / "golden/tiny/finetuned.pt").read_bytes()}
    status, out, err = hub.load("us/pt")
    assert status == 0 and out.splitlines()[0].endswith("finetuned.pt"), err


# ---- what names something of the Hub --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, found",
    [
        ("wanglab/ecg-fm", ("wanglab/ecg-fm", None, None)),
        ("hf://wanglab/ecg-fm", ("wanglab/ecg-fm", None, None)),
        ("wanglab/ecg-fm:a/b.pt", ("wanglab/ecg-fm", None, "a/b.pt")),
        ("wanglab/ecg-fm@v1.0", ("wanglab/ecg-fm", "v1.0", None)),
        ("wanglab/ecg-fm@refs/pr/1:b.pt", ("wanglab/ecg-fm", "refs/pr/1", "b.pt")),
    ],
)
def test_names(text, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = hub_name(text)
    assert (name.repo, name.revision, name.file) == found
    assert str(name) == text.removeprefix("hf://")


@pytest.mark.parametrize(
    "text",
    [
        "model.pt",
        "runs/checkpoint_best.pt",
        "a/b/c",
        "/abs/olute",
        "./a/b",
        "../a/b",
        "a/..",
        "runs/one",
        "a b/c",
        "",
        "a/",
    ],
)
def test_paths(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub_name(text) is None and hub_name(Path(text)) is None


def test_what_is_here_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").symlink_to(DEMO)
    assert ecgfm.load("a/b").labels == ecgfm.load(DEMO).labels


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"ecgfm\[hub\]"):
        fetch(HubName("a/b"))
    with pytest.raises(MissingExtraError):
        ecgfm.load("no-such-owner/name")


def test_a_mistyped_path_is_not_looked_for_in_the_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for text in ("runs/absent", "runs/absent.pt", "absent/best.pt"):
        with pytest.raises(CheckpointError):
            ecgfm.load(text)

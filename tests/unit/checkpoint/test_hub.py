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

import checkpoint_files as made
import pytest
import weights
from bounded import PATIENCE_S

import ecgfm
from ecgfm import CheckpointError, MissingExtraError
from ecgfm.checkpoint import fetch, hub_name
from ecgfm.checkpoint.hub import HubName
from ecgfm.specs.known import MIMIC_IV_ECG

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLD = "abf3d8c000000000000000000000000000000000"  # the revision that the table has of ecg-fm/physionet
DEMO = Path(str(resources.files("ecgfm") / "assets/demo"))


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for the repositories in `server.repos`: {owner/name: {file: bytes}}.

    Those in `server.old` are their files at the commit `OLD`; of those in `server.gated` no file is given away.
    """

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.asked.append((self.command, path))
        for repo, files in self.server.repos.items():
            if path == f"api/models/{repo}/commits/main":
                when = {"authors": [], "date": "2024-08-01T00:00:00.000Z", "title": "t", "message": ""}
                return self.send(200, json.dumps([{"id": each, **when} for each in (COMMIT, OLD)]).encode(), body)
            old = self.server.old.get(repo, {})
            for commit, names, found in (("main", ("main", COMMIT), files), (OLD, (OLD,), old)):
                if self.listed(repo, path, commit, found, body) or self.file(repo, path, names, found, body):
                    return None
            if path.startswith(f"api/models/{repo}/"):
                return self.send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
        return self.send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

    def listed(self, repo, path, commit, files, body):
        """Answer for the list of files of a revision."""
        if path == f"api/models/{repo}/tree/{commit}":
            rows = [{"type": "file", "path": name, "size": len(raw), "oid": sha(raw)} for name, raw in files.items()]
            self.send(200, json.dumps(rows).encode(), body)
            return True
        if path in (f"api/models/{repo}" * (commit == "main"), f"api/models/{repo}/revision/{commit}"):
            found = {"id": repo, "sha": COMMIT if commit == "main" else commit}
            found["siblings"] = [{"rfilename": name} for name in files]
            self.send(200, json.dumps(found).encode(), body)
            return True
        return False

    def file(self, repo, path, revisions, files, body):
        """Answer for a file of a revision."""
        for name in files:
            if path in (f"{repo}/resolve/{revision}/{name}" for revision in revisions):
                if repo in self.server.gated:
                    self.send(403, b"{}", body, {"X-Error-Code": "GatedRepo"})
                    return True
                commit = OLD if OLD in revisions else COMMIT
                self.send(200, files[name], body, {"ETag": f'"{sha(files[name])}"', "X-Repo-Commit": commit})
                return True
        return False

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
    server.asked, server.repos, server.old, server.gated = [], {"us/ours": demo}, {}, set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.endpoint = f"http://127.0.0.1:{server.server_address[1]}"

    def load(source, **changes):
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "ECGFM_MODELS": str(tmp_path / "hand"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(ecgfm.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
            **changes,
        }
        environment.pop("HF_HUB_OFFLINE", None)
        environment.update(changes)
        code = "import sys, time, warnings, ecgfm; warnings.simplefilter('ignore');"
        code += "time.sleep = lambda seconds: None;"  # the library's pauses before it asks a dead server again
        code += "m = ecgfm.load(sys.argv[1]);"
        code += "print(m.source); print(m.labels)"
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


# ---- known models ---------------------------------------------------------------------------------------------------


def pt(tmp_path, kind="classifier", **config):
    made.write(tmp_path / "made.pt", weights.SMALL | config, kind)
    return (tmp_path / "made.pt").read_bytes()


def test_a_known_model(hub, tmp_path):
    raw = pt(tmp_path)
    hub.repos["wanglab/ecg-fm"] = {"mimic_iv_ecg_finetuned.pt": raw, "mimic_iv_ecg_physionet_pretrained.pt": b"x"}
    status, out, err = hub.load("ecg-fm")
    assert status == 0 and out.splitlines()[0].endswith(f"{COMMIT}/mimic_iv_ecg_finetuned.pt"), err
    assert eval(out.splitlines()[1]) == MIMIC_IV_ECG
    hub.repos.clear()
    for changes in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        assert hub.load("ecg-fm", **changes)[0] == 0


def test_a_file_of_an_old_revision(hub, tmp_path):
    hub.repos["wanglab/ecg-fm"] = {"mimic_iv_ecg_finetuned.pt": b"x"}
    hub.old["wanglab/ecg-fm"] = {"physionet_finetuned.pt": pt(tmp_path, num_labels=26)}
    status, out, err = hub.load("ecg-fm/physionet")
    assert status == 0 and out.splitlines()[0].endswith(f"{OLD}/physionet_finetuned.pt"), err
    assert eval(out.splitlines()[1])[:2] == ("Atrial fibrillation", "Atrial flutter")
    hub.repos.clear()  # what was downloaded is found by the first digits of its commit
    status, out, err = hub.load("ecg-fm/physionet", HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 0 and OLD in out, err


def test_the_one_file_that_is_not_the_base(hub, tmp_path):
    hub.repos["heartwise/WCR_77_Classes"] = {
        "base_ssl.pt": b"x",
        "wcr_77_classes.pt": pt(tmp_path, num_labels=77),
        "config.json": b"",
    }
    status, out, err = hub.load("deepecg/77")
    assert status == 0 and out.splitlines()[0].endswith("wcr_77_classes.pt"), err
    assert not [path for _, path in hub.asked if "resolve" in path and not path.endswith("wcr_77_classes.pt")]


def test_a_gated_model(hub, tmp_path):
    hub.repos["heartwise/WCR_AFIB_5Y"] = {"base_ssl.pt": b"x", "wcr_afib_5y.pt": pt(tmp_path, num_labels=1)}
    hub.gated.add("heartwise/WCR_AFIB_5Y")
    text = error_of(hub, "deepecg/afib5y")
    page = "https://huggingface.co/heartwise/WCR_AFIB_5Y"
    assert "the repository is gated" in text and f"Accept them on {page}, then run: hf auth login" in text
    assert f"download the .pt file that is not base_ssl.pt from {page} (gated" in text
    assert f"put it into {tmp_path}/hand/deepecg/afib5y" in text
    hand = tmp_path / "hand/deepecg/afib5y"
    hand.mkdir(parents=True)
    (hand / "wcr_afib_5y.pt").write_bytes(pt(tmp_path, num_labels=1))
    status, out, err = hub.load("deepecg/afib5y")
    assert status == 0 and out.splitlines() == [str(hand / "wcr_afib_5y.pt"), "('Atrial fibrillation within 5 years',)"]


def test_a_known_model_without_a_network(hub, tmp_path):
    text = error_of(hub, "ecg-fm/physionet", HF_ENDPOINT="http://127.0.0.1:9")
    assert "ecg-fm/physionet" in text and "the Hub can't be reached" in text
    wanted = "Download physionet_finetuned.pt from https://huggingface.co/wanglab/ecg-fm/tree/abf3d8c by hand"
    assert f"{wanted} and put it into {tmp_path}/hand/ecg-fm/physionet, or give the path of the file" in text
    text = error_of(hub, "deepecg/ssl", HF_HUB_OFFLINE="1")
    assert "(gated: log in there and accept its terms first)" in text and "hand/deepecg/ssl" in text


def test_a_misspelled_name_of_the_hub_gets_the_nearest(hub):
    text = error_of(hub, "ecgfm/pretrained")
    assert "did you mean ecg-fm/pretrained" in text


def test_a_known_model_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("ECGFM_MODELS", str(tmp_path))
    with pytest.raises(MissingExtraError) as error:
        ecgfm.load("ecg-fm")
    assert str(error.value) == (
        "ecg-fm (wanglab/ecg-fm:mimic_iv_ecg_finetuned.pt): huggingface_hub is not installed, which downloads models."
        " Install it with: pip install 'ecgfm[hub]'; or download mimic_iv_ecg_finetuned.pt from"
        f" https://huggingface.co/wanglab/ecg-fm by hand and put it into {tmp_path}/ecg-fm, or give the path of"
        " the file."
    )


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

"""The two files of a model directory belong together: what a save that was broken off, a copy or an edit leaves."""

import errno
import hashlib
import json
import os
import shutil
import signal

import checkpoint_files as files
import numpy as np
import pytest
import weights

import ecgfm
from ecgfm import checkpoint

CALLS = ("replace", "fsync", "open", "chmod")


def write(folder, label, value):
    """A model whose labels and weights say which one it is."""
    tensors = files.state(weights.SMALL)
    tensors["proj.bias"] = np.full(17, value, np.float32)
    labels = [f"{label} {i}" for i in range(17)]
    checkpoint.write_directory(folder, kind="classifier", config=weights.SMALL, tensors=tensors, labels=labels)


def which(folder):
    """Which model a directory holds."""
    with checkpoint.read(folder) as found:
        found.verify()
        value = float(np.asarray(found.tensors["proj.bias"])[0])
        return found.labels[0].split()[0], value


@pytest.fixture
def old(tmp_path):
    write(tmp_path / "m", "old", 1)
    return tmp_path / "m"


def failing(monkeypatch, at, fail):
    """Let the call number `at` of those that change files fail; gives the list of those made."""
    made = []

    def counted(name, function):
        def call(*args, **options):
            made.append(name)
            if len(made) == at:
                fail()
            return function(*args, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    return made


def calls_of_a_save(folder, monkeypatch):
    with monkeypatch.context() as patch:
        made = failing(patch, -1, None)
        write(folder, "old", 1)
    return len(made)


@pytest.mark.parametrize("fresh", [False, True])
def test_killed_at_any_change_of_a_file(old, fresh, monkeypatch):
    """A directory is then the old one, the new one, or refused with what to do."""
    count, seen = calls_of_a_save(old.parent / "count" if fresh else old, monkeypatch), set()
    for at in range(1, count + 2):
        folder = old.parent / f"killed {at}"
        if not fresh:
            shutil.copytree(old, folder)
        if (child := os.fork()) == 0:
            with pytest.MonkeyPatch.context() as patch:
                failing(patch, at, lambda: os.kill(os.getpid(), signal.SIGKILL))
                write(folder, "new", 2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) == (at <= count)
        try:
            seen.add(which(folder))
        except ecgfm.CheckpointError as error:
            seen.add("refused")
            if not fresh:
                assert "ids differ" in str(error) and "delete config.json" in str(error)
                os.remove(folder / "config.json")
                assert which(folder) == ("new", 2)
        write(folder, "third", 3)  # and it can be saved again
        assert which(folder) == ("third", 3)
    assert ("new", 2) in seen and seen <= {("old", 1), ("new", 2), "refused"}
    assert fresh or {("old", 1), "refused"} <= seen


def test_a_full_disk_leaves_the_old_model(old, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {path.name: path.read_bytes() for path in old.iterdir()}
    for at in range(1, calls_of_a_save(old.parent / "count", monkeypatch)):
        with monkeypatch.context() as patch:
            made = failing(patch, at, full)
            with pytest.raises(ecgfm.CheckpointError, match="No space left"):
                write(old, "new", 2)
        if made.count("replace") == 2:  # renaming takes no space
            break
        assert {path.name: path.read_bytes() for path in old.iterdir()} == before


def test_files_of_two_models_are_refused(old, tmp_path):
    write(tmp_path / "n", "new", 2)
    shutil.copy(tmp_path / "n" / "config.json", old / "config.json")
    with pytest.raises(ecgfm.CheckpointError, match="ids differ") as caught:
        ecgfm.load(old)
    assert caught.value.path.endswith("config.json") and caught.value.field == "id" and caught.value.remedy


def test_one_file_is_enough(old, tmp_path):
    shutil.copy(old / "model.safetensors", tmp_path / "alone.safetensors")
    assert which(tmp_path / "alone.safetensors") == ("old", 1)
    os.remove(old / "config.json")
    assert which(old) == ("old", 1) and ecgfm.load(old).labels[3] == "old 3"


def test_the_configuration_may_be_edited(old):
    said = json.loads((old / "config.json").read_text())
    said["labels"][0] = "edited 0"
    (old / "config.json").write_text(json.dumps(said))
    assert which(old) == ("edited", 1)


def test_what_stands_in_both(old):
    raw = (old / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    metadata = json.loads(raw[8 : 8 + length])["__metadata__"]
    said = json.loads((old / "config.json").read_text())
    assert len(bytes.fromhex(said["id"])) == 16 and metadata["id"] == said["id"] and said["version"] == 2
    assert json.loads(metadata["config"]) == said
    assert metadata["sha256"] == hashlib.sha256(raw[8 + length :]).hexdigest()
    with checkpoint.read(old) as found:
        assert found.id == said["id"] and checkpoint.describe(found)["id"] == said["id"]
    write(old, "old", 1)
    assert json.loads((old / "config.json").read_text())["id"] != said["id"]


def version_1(folder):
    """As it was written before there were ids."""
    said = json.loads((folder / "config.json").read_text())
    for key in ("id", "input", "cfg"):
        del said[key]
    said |= {"version": 1, "sampling_rate": 500, "samples": 2500, "leads": list(ecgfm.LEADS)}
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header["__metadata__"] = {"format": "ecgfm"}
    text = json.dumps(header).encode()
    (folder / "config.json").write_text(json.dumps(said))
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def test_directories_without_an_id_are_read(old, tmp_path):
    version_1(old)
    assert which(old) == ("old", 1)
    write(tmp_path / "n", "new", 2)
    shutil.copy(old / "config.json", tmp_path / "n" / "config.json")
    with pytest.raises(ecgfm.CheckpointError, match="ids differ"):
        checkpoint.read(tmp_path / "n")
    shutil.copy(tmp_path / "n" / "model.safetensors", tmp_path / "kept")
    write(tmp_path / "k", "new", 2)
    shutil.copy(tmp_path / "k" / "config.json", old / "config.json")
    with pytest.raises(ecgfm.CheckpointError, match="ids differ") as caught:
        checkpoint.read(old)
    assert "was saved with the weights" in caught.value.remedy


def test_damaged_values_are_found_by_their_hash(old, capsys):
    from ecgfm.cli.main import main

    assert main(["inspect", "--verify", str(old)]) == 0 and "as they were saved" in capsys.readouterr().out
    with open(old / "model.safetensors", "rb+") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\xc1")
    assert main(["inspect", str(old)]) == 0 and "--verify does" in capsys.readouterr().out
    assert main(["inspect", "--verify", str(old)]) == 2 and "damaged" in capsys.readouterr().err
    with pytest.raises(ecgfm.CheckpointError, match="damaged"):
        checkpoint.convert(old, old.parent / "n")


def test_zeros_in_a_label_do_not_look_like_the_place_of_the_hash(tmp_path):
    write(tmp_path / "m", "0" * 70, 1)
    with checkpoint.read(tmp_path / "m") as found:
        assert found.verify() and found.labels[0] == "0" * 70 + " 0"


def test_a_run_s_settings_go_through_a_directory(tmp_path):
    value, storages = files.content(weights.SMALL)
    value["cfg"] = value["cfg"] | {
        "task": {"_name": "ecg_classification", "normalize": True, "data": "/home/me", "label_file": "/home/me/y.npy"},
        "criterion": {"_name": "binary_cross_entropy_with_logits", "pos_weight": [2.0] * 17},
    }
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    checkpoint.convert(tmp_path / "a.pt", tmp_path / "m")
    assert "/home/me" not in (tmp_path / "m" / "config.json").read_text()
    checkpoint.convert(tmp_path / "m", tmp_path / "b.pt")
    with checkpoint.read(tmp_path / "b.pt") as found:
        assert found.cfg["task"]["normalize"] is True and found.cfg["criterion"]["pos_weight"] == [2.0] * 17
        assert found.settings["normalize"] is True

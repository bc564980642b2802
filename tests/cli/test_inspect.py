"""ecgfm inspect: everything that a user wants to know of a file, and one line when it can't be read."""

import json
import subprocess
import sys

import checkpoint_files as files
import pytest
import weights

from ecgfm.cli.main import main


def test_text(tmp_path, capsys):
    expected = files.write(tmp_path / "a.pt")
    assert main(["inspect", str(tmp_path / "a.pt")]) == 0
    out = capsys.readouterr().out
    count = sum(value.size for value in expected.values())
    for text in (
        f"{count:,} in {len(expected)} tensors (float32)",
        "classifier, 17 outputs",
        "encoder_attention_heads  4",
        "built-in, assumed",
        "16  Electronic pacemaker",
        "refused     nothing",
        "encoder.conv_pos.pos_conv.0.parametrizations.weight.original1",
        "32 x 8 x 16",
    ):
        assert text in out, text


def test_json_names_what_was_refused_and_what_is_not_needed(tmp_path, capsys):
    storages = files.Storages()
    model = files.state(weights.SMALL) | {"encoder.mask_emb": weights.weight("encoder.mask_emb", (32,))}
    odd = files.Call(files.Global("os", "system"), "true")
    value, _ = files.content(weights.SMALL, model=model, storages=storages, task_state={"odd": odd})
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    (tmp_path / "label_def.csv").write_text("name,n\n" + "".join(f"label {i},1\n" for i in range(17)))
    assert main(["inspect", "--json", str(tmp_path / "a.pt")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["refused"] == ["os.system"] and found["unused"] == ["encoder.mask_emb"]
    assert found["labels_source"] == "label_def.csv" and found["labels"][3] == "label 3"
    assert found["config"]["conv_feature_layers"] == [[16, 2, 2]] * 4
    assert found["tensors"][0] == {
        "name": "encoder.encoder.layers.0.self_attn.k_proj.weight",
        "shape": [32, 32],
        "dtype": "float32",
    }
    assert main(["inspect", str(tmp_path / "a.pt")]) == 0
    out = capsys.readouterr().out
    assert "  os.system\n" in out and "  encoder.mask_emb\n" in out


def test_names_from_the_file_do_not_reach_the_terminal_raw(tmp_path, capsys):
    evil = files.Call(files.Global("a\x1b]0;b", "c\x07d"))
    value, storages = files.content(weights.SMALL, task_state={"odd": evil})
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    assert main(["inspect", str(tmp_path / "a.pt")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out and r"a\x1b]0;b.c\x07d" in out


def test_a_damaged_storage_is_found(tmp_path, capsys):
    files.write(tmp_path / "a.pt")
    raw = bytearray((tmp_path / "a.pt").read_bytes())
    place = raw.index(b"archive/data/4") + 40
    raw[place] ^= 1
    (tmp_path / "a.pt").write_bytes(raw)
    assert main(["inspect", str(tmp_path / "a.pt")]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "a.pt: archive/data/4: the checksum is wrong" in captured.err


@pytest.mark.parametrize("make", ["absent", "text", "empty"])
def test_what_cannot_be_read_is_one_line(tmp_path, make):
    path = tmp_path / "a.pt"
    if make != "absent":
        path.write_text("hello" if make == "text" else "")
    code = "import sys; from ecgfm.cli.main import main; sys.exit(main())"
    run = subprocess.run([sys.executable, "-c", code, "inspect", path], capture_output=True, text=True)
    assert run.returncode == 2 and run.stdout == "" and run.stderr.count("\n") == 1
    assert str(path) in run.stderr and "Traceback" not in run.stderr

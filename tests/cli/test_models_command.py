"""ecgfm models: what is known by name, for people and for programs."""

import json

import pytest

from ecgfm.cli.main import main
from ecgfm.specs.known import KNOWN


def run(capsys, *argv):
    status = main(["models", *argv])
    done = capsys.readouterr()
    return status, done.out, done.err


def test_the_list(capsys):
    status, out, _ = run(capsys)
    assert status == 0 and all(f"\n{name} " in f"\n{out}" for name in KNOWN)
    assert "10 s" in out and "gated" in out and out.endswith("Not for clinical use.\n")
    assert out.index("Known, and not run here") < out.index("melp")


def test_the_list_for_programs(capsys):
    status, out, _ = run(capsys, "--json")
    found = {one["name"]: one for one in json.loads(out)}
    assert status == 0 and list(found) == list(KNOWN)
    assert found["ecg-fm"]["input"]["sampling_rate"] == 500 and len(found["deepecg/77"]["labels"]) == 77
    assert found["deepecg/77"]["gated"] and "accept its terms" in found["deepecg/77"]["get"]
    assert found["melp"]["runs"] is False and found["melp"]["why_not"] and found["demo"]["get"] == "it comes with ecgfm"


def test_one(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ECGFM_MODELS", str(tmp_path))
    status, out, _ = run(capsys, "ecg-fm/physionet")
    assert status == 0
    for text in (
        "only in revision abf3d8c",
        "https://huggingface.co/wanglab/ecg-fm/tree/abf3d8c",
        f"put it into {tmp_path}/ecg-fm/physionet",
        "PAC|SVPB",
        "284470004|63593006",
        "rhythm: Atrial fibrillation, Atrial flutter, Bradycardia, Sinus rhythm,",
        "not checked against",
    ):
        assert text in out, text
    assert "thresholds" not in out


def test_thresholds_have_their_source_and_no_blessing(capsys):
    _, out, _ = run(capsys, "deepecg/77")
    assert out.count("thresholds: published, not validated here") == 2 and "wcr_77_classes_ecg_machine_diagnosis" in out
    _, out, _ = run(capsys, "deepecg/77", "--json")
    first, second = json.loads(out)["thresholds"]
    labels = [one["name"] for one in json.loads(out)["labels"]]
    assert first["status"] == second["status"] == "published, not validated here"
    assert first["values"][labels.index("Afib")] == 0.1038 and second["values"][labels.index("Afib")] == 0.004
    assert first["values"][labels.index("Brugada")] is None


@pytest.mark.parametrize("name", KNOWN)
def test_each(capsys, name):
    status, out, _ = run(capsys, name)
    assert status == 0 and KNOWN[name].what in out and KNOWN[name].licence in out


def test_a_name_that_is_none(capsys):
    assert run(capsys, "deepecg/7")[::2] == (
        2,
        "ecgfm: error: deepecg/7: no known model has this name. Did you mean deepecg/77 or deepecg/ssl? ecgfm models"
        " lists all names.\n",
    )
    assert "no known model" in run(capsys, "\x1b[2J" + "x" * 9999)[2]

"""ecgfm speed: one table and one line, or JSON; one line when it can't be done."""

import json

import pytest

import ecgfm
from ecgfm.cli import speed as command
from ecgfm.cli.main import main

QUICK = ("speed", "--quick", "--batch", "2", "--threads", "1", "--starts", "1", "--rounds", "1")


@pytest.fixture
def run(capsys):
    def call(*argv):
        status = main(list(map(str, argv)))
        return status, *capsys.readouterr()

    return call


def test_the_table_and_the_line(run):
    status, out, err = run(*QUICK, "--precision", "float32")
    assert status == 0 and err == ""
    lines = out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("precision"))
    assert lines[head].split() == " ".join(command._COLUMNS).split()
    cells = lines[head + 1].split()
    assert cells[:3] == ["float32", "2", "1"] and len(cells) == len(command._COLUMNS) and cells[6] == "1.00"
    assert (
        lines[-1].startswith(f"ecgfm {ecgfm.__version__} the shipped model on ") and "threads 1, batch 2" in lines[-1]
    )


def test_json_with_accuracy(run):
    status, out, err = run(*QUICK, "--accuracy", "--json")
    assert status == 0 and err == ""
    found = json.loads(out)
    precisions = ecgfm._core.precisions()
    assert [row["precision"] for row in found["rows"]] == precisions
    for row in found["rows"]:
        assert row["ms"] > 0 and row["first_answer_s"] > 0 and row["memory_mb"] > 20
    assert [one["precision"] for one in found["accuracy"]["changes"]] == precisions[1:]
    assert set(found["absent"]) == {"float32", "bfloat16", "int8"} - set(precisions)


@pytest.mark.parametrize(
    "argv, said",
    [
        (("--threads", "many"), "--threads"),
        (("--threads", "0"), "--threads"),
        (("--batch", "0"), "--batch"),
        (("--rounds", "0"), "--rounds"),
        (("--seconds", "-1"), "--seconds"),
        (("--precision", "int4"), "int4"),
        (("--recordings", "a.npy"), "--accuracy"),
        (("absent.pt", "--size", "base"), "Give one of the two"),
        (("absent.pt",), "absent.pt"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, argv, said):
    status, out, err = run("speed", *argv)
    assert status == 2 and out == "" and err.count("\n") == 1 and said in err


def test_quick_takes_all_threads(run, monkeypatch):
    seen = {}

    def measured(source, **options):
        seen.update(options)
        raise ecgfm.Error("enough")

    monkeypatch.setattr("ecgfm.inference.speed.measure_speed", measured)
    run("speed", "--quick")
    assert seen["threads"] == [ecgfm._core.processors()] and seen["rounds"] == 2 and seen["starts"] == 1
    run("speed")
    assert seen["threads"] == [1, ecgfm._core.processors()] and seen["rounds"] == 5 and seen["seconds"] == 0.5

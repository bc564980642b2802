"""Reports, definitions and tables that lie: refused in one line, before they take memory or time."""

import gzip
import json
import os
import subprocess
import sys

import pytest
from bounded import attack

#: Runs commands, each of which must end with a status in one short line that can be printed.
REFUSED = """
import contextlib, io
for status, words in CASES:
    said, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(err):
        command(*words)
    line = err.getvalue()
    assert found["status"] == status, (words, found["status"], line[:300])
    assert line.count("\\n") == 1 and len(line) <= 2100 and line[:-1].isprintable(), (words, line[:300])
"""


def refuse(folder, cases, **limits):
    """Assert that commands, given as (status, words) or as words alone, are refused in the bounded process."""
    cases = [case if isinstance(case[0], int) else (2, case) for case in cases]
    ended = attack(f"CASES = {[(status, list(map(str, words))) for status, words in cases]!r}\n{REFUSED}", folder)
    assert ended.raised is None, f"{ended.raised}: {ended.text}"
    ended.bounded(**limits)


def definitions(folder, **sections):
    """A directory of definitions with one finding, and what is given: content, or the bytes of a file."""
    folder.mkdir()
    small = {"entity_tem": [{"name": "Sinus"}], "entity_pat": [{"pattern": "sinus", "entities": ["Sinus"]}]}
    for name, content in {**small, **sections}.items():
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / f"{name}.json").write_bytes(raw)


def ladder(steps):
    """Findings of which each is a kind of the next in two ways."""
    made = [{"name": "0"}]
    for i in range(1, steps):
        made += [{"name": f"{i}{side}", "sup": [made[0]["name"] if i == 1 else f"{i - 1}"]} for side in "ab"]
        made.append({"name": f"{i}", "sup": [f"{i}a", f"{i}b"]})
    return made


def entities(count):
    return [{"name": f"finding {i}"} for i in range(count)]


MULTIPLY = {
    "templates": {
        "normalization": {
            "groups": {name: {str(i): "x" for i in range(3000)} for name in "abc"},
            "templates": [{"from": "{a} {b} {c}", "to": "x"}],
        }
    },
    "template_repeats": {
        "normalization": {
            "groups": {"a": {str(i): "y" * 400 for i in range(4000)}},
            "templates": [{"from": "{a}" * 100, "to": "{a}" * 100}],
        }
    },
    "braces": {
        "normalization": {
            "groups": {"a": {"x": "{b}{b}"}, "b": {"y": "{c}{c}"}, "c": {"z": "w"}},
            "templates": [{"from": "{a} {b} {c}", "to": "{a}"}],
        }
    },
    "growth": {"normalization": {"spelling": {"sinus": "a " * 10_000}}},
    "words": {"normalization": {"words": [f"abcdefgh{i:x}" for i in range(150_000)]}},
    "cuts": {"normalization": {"cut": [f"cut {i}" for i in range(50_000)]}},
    "nested": {"entity_pat": [{"pattern": " ".join(["a"] * n), "entities": ["Sinus"]} for n in range(1, 100)]},
    "long_patterns": {"entity_pat": [{"pattern": f"{i} " + ". " * 2000, "entities": ["Sinus"]} for i in range(900)]},
    "many_findings": {"entity_tem": entities(60_000)},
    "many_labels": {
        "entity_tem": [{"name": "Sinus"}, *entities(3000)],
        "desc_tem": [{"name": f"d{i}"} for i in range(900)],
    },
    "label_text": {
        "entity_tem": [{"name": "Sinus"}, *({"name": f"{i:0300}"} for i in range(2000))],
        "desc_tem": [{"name": f"d{i}"} for i in range(200)],
    },
    "ladder": {"entity_tem": [{"name": "Sinus"}, *ladder(3000)]},
    "chain": {
        "entity_tem": [
            {"name": "Sinus"},
            {"name": "0"},
            *({"name": f"{i}", "sup": [f"{i - 1}"]} for i in range(1, 9000)),
        ]
    },
    "circle": {
        "entity_tem": [{"name": "Sinus"}, *({"name": f"e{i}", "sup": [f"e{(i + 1) % 9000}"]} for i in range(9000))]
    },
    "many_of_a_pattern": {"entity_pat": [{"pattern": "sinus", "entities": ["Sinus"] * 100_000}]},
    "compounds": {"compound_tem": [{"entity": "Sinus", "including": ["Sinus"]}] * 5000},
    "rows": {
        "entity_tem": [{"name": "Sinus"}, *({"name": f"{i}", "sup": [f"{i - 1}"] if i else []} for i in range(150))],
        "desc_tem": [{"name": "Old"}],
        "entity_pat": [{"pattern": "sinus", "entities": [{"tem": "Sinus", "descriptors": ["Old"]}]}],
        "attached_desc_tem": [{"resulting_entity": "149", "entity": "Sinus", "descriptor": "Old"}] * 2000,
    },
    "digits": {"uncertainty_map": b'{"a": ' + b"9" * 5000 + b"}"},
    "constant": {"uncertainty_map": b'{"a": Infinity}'},
    "twice": {"uncertainty_map": b'{"a": 1, "a": 0.5}'},
    "deep": {"desc_tem": b"[" * 200_000},
    "wide": {"desc_tem": b"[" + b"[]," * 1_000_000 + b"[]]"},
    "long_name": {"entity_tem": [{"name": "x" * 1_000_000}]},
    "escapes": {"entity_tem": [{"name": "\x1b[31mSinus"}]},
    "turned": {"entity_tem": [{"name": "Sinus\u202e"}]},
    "half_a_character": {"entity_tem": [{"name": "\ud800"}]},
    "formula": {"entity_tem": [{"name": "=cmd|' /C calc'!A0"}]},
    "unknown": {"entity_pat": [{"pattern": "sinus", "entities": ["\x1b" * 100_000]}]},
}


def test_definitions_that_multiply_or_lie(tmp_path):
    (tmp_path / "r.txt").write_text("sinus " * 1000 + "\n")
    for name, sections in MULTIPLY.items():
        definitions(tmp_path / name, **sections)
    refuse(tmp_path, [("label", "r.txt", "--definitions", name, "--out", "out.csv") for name in MULTIPLY])
    assert not (tmp_path / "out.csv").exists()


def test_rules_that_make_a_report_grow(tmp_path):
    """Each table within its limit, one after the other."""
    growing = {key: f"{' '.join([after] * 16)}" for key, after in (("a", "b"), ("b", "c"), ("c", "d"))}
    definitions(
        tmp_path / "d",
        normalization={
            "spelling": {"a": growing["a"]},
            "abbreviations": {"b": growing["b"]},
            "forms": {"c": growing["c"]},
            "acronyms": {"A": "a a a a a a a a"},
        },
    )
    (tmp_path / "r.txt").write_text("A " * 100_000 + "\n")
    refuse(tmp_path, [("label", "r.txt", "--definitions", "d")])


def test_many_matches_of_a_long_report(tmp_path):
    """What is allowed together: fifteen patterns that end alike, many findings of each, a long report."""
    definitions(
        tmp_path / "d",
        entity_tem=entities(60),
        entity_pat=[
            {"pattern": " ".join(["a"] * n), "entities": [f"finding {i}" for i in range(60)]} for n in range(1, 16)
        ],
    )
    (tmp_path / "r.txt").write_text("a " * 100_000 + "\n")
    ended = attack("command('label', 'r.txt', '--definitions', 'd', '--out', 'out.csv')", tmp_path)
    ended.bounded(mb=600, cpu_s=40)
    assert ended.status == 0 and len((tmp_path / "out.csv").read_text().splitlines()) == 61


def test_rules_that_take_for_ever_on_a_long_report(tmp_path):
    """Texts to cut at, acronyms and phrases that begin alike; words that differ in one letter."""
    phrase = "a " * 249 + "b"
    low = [f"low {'a ' * 1990}wave{'abcdefghijklmnopqrstuvwxyz'[i % 26] * (1 + i // 26)}" for i in range(120)]
    words = [chr(0x4E00 + i) + "abcd" for i in range(20_000)] + ["a" + chr(0xAC00 + i) + "bcd" for i in range(11_000)]
    cases = [
        (0, "cut", {"normalization": {"cut": ["b", *("a" * 490 + f"x{i}" for i in range(190))]}}, "a" * 200_000),
        (2, "acronyms", {"normalization": {"acronyms": {f"{'a ' * 240}{i}": "x" for i in range(190)}}}, "a"),
        (2, "phrase", {"normalization": {"abbreviations": {phrase: "x"}}}, "a " * 100_000),
        (0, "hyphens", {"entity_pat": [{"pattern": "a " * 2000 + "b", "entities": ["Sinus"]}]}, "a-" * 100_000),
        (0, "numbers", {"entity_pat": [{"pattern": text, "entities": ["Sinus"]} for text in low]}, "low"),
        (0, "alike", {"normalization": {"words": words}}, " ".join("abcd" + chr(0x20000 + i) for i in range(20_000))),
    ]
    for status, name, sections, report in cases:
        definitions(tmp_path / name, **sections)
        (tmp_path / f"{name}.txt").write_text(f"{report}\n")
    lines = "".join(
        f"command('label', '{name}.txt', '--definitions', '{name}', '--out', '{name}.csv')\n"
        f"assert found['status'] == {status}, '{name}'\n"
        for status, name, _, _ in cases
    )
    ended = attack(lines, tmp_path)
    assert ended.raised is None, ended.text
    ended.bounded(cpu_s=20)


def packed(piece, times, tail=b""):
    """Many times the same, compressed, made without the whole of it."""
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(piece) for _ in range(times)), packer.compress(tail), packer.flush()])


def test_reports_that_never_end_or_are_damaged(tmp_path):
    (tmp_path / "line.txt").write_bytes(b"x" * 5_000_000)
    (tmp_path / "line.txt.gz").write_bytes(packed(b"x" * (1 << 20), 200))
    (tmp_path / "cell.csv.gz").write_bytes(packed(b"a " * (1 << 19), 40))
    (tmp_path / "cell.csv").write_bytes(b'text\n"' + b"a\n" * 400_000 + b'"\n')
    (tmp_path / "row.csv").write_bytes(b"text\n" + b'"a\n",' * 1_500_000)
    (tmp_path / "header.csv").write_bytes(b"a" * 6_000_000)
    (tmp_path / "columns.csv").write_bytes(b"report_" + b"9" * 5000 + b",\x1b[31m,report_x\na,b,c\n")
    (tmp_path / "empty.csv").write_bytes(b"")
    good = gzip.compress("".join(f"{i} sinus rhythm {i * i}\n" for i in range(20_000)).encode(), mtime=0)
    for ending in ("txt", "csv", "tsv"):
        damaged = good[:4000] + bytes(b ^ 255 for b in good[4000:4100]) + good[4100:]
        (tmp_path / f"damaged.{ending}.gz").write_bytes(damaged)
        (tmp_path / f"cut.{ending}.gz").write_bytes(good[:-100])
        (tmp_path / f"none.{ending}.gz").write_bytes(b"not compressed")
    names = sorted(path.name for path in tmp_path.iterdir())
    refuse(tmp_path, [("label", name, "--out", "out.csv") for name in names])
    refuse(tmp_path, [(2, ("label", *names, "--out", "out.csv", "--definitions", "nowhere"))])


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for ending in ("csv", "tsv", "parquet", "txt", "csv.gz"):
        (tmp_path / f"fifo.{ending}").symlink_to("fifo")
        (tmp_path / f"zero.{ending}").symlink_to("/dev/zero")
    (tmp_path / "r.txt").write_text("sinus\n")
    (tmp_path / "meta.csv").write_text("idx,study_id\n0,1\n")
    for name in ("entity_tem", "desc_tem", "normalization", "uncertainty_map"):
        definitions(tmp_path / name)
        (tmp_path / name / f"{name}.json").unlink(missing_ok=True)
        os.mkfifo(tmp_path / name / f"{name}.json")
    cases = [
        ("label", f"{what}.{ending}", "--out", "out.csv")
        for what in ("fifo", "zero")
        for ending in ("csv", "tsv", "parquet", "txt", "csv.gz")
    ]
    cases += [
        ("label", "r.txt", "--definitions", name)
        for name in ("entity_tem", "desc_tem", "normalization", "uncertainty_map", "fifo", "x" * 5000, "r.txt")
    ]
    machine = ("labels", "mimic_iv_ecg", "--output_dir", "labels", "--machine_measurements")
    cases += [
        (*machine, "fifo", "--meta", "meta.csv"),
        (*machine, "zero.csv", "--meta", "meta.csv"),
        (*machine, "r.txt", "--meta", "fifo"),
        (*machine, "r.txt", "--meta", "zero.csv"),
        (*machine, "r.txt", "--meta", "meta.csv", "--meta_splits", "fifo"),
    ]
    refuse(tmp_path, cases)
    assert not (tmp_path / "labels").exists()


def test_tables_of_studies_that_lie(tmp_path):
    cases = []
    contents = {
        "digits": f"idx,study_id\n{'9' * 5000},1\n",
        "large": "idx,study_id\n1e300,1\n",
        "huge": "idx,study_id\n1,1e19\n",
        "far": "idx,study_id\n99999999,1\n",
        "nan": "idx,study_id\nnan,1\n",
        "cell": f"idx,study_id\n{'1' * 900_000},1\n",
        "escape": "idx,study_id\n\x1b[31m,1\n",
        "columns": f"{'a,' * 80_000}b\n1,2\n",
        "short": "idx,study_id\n1\n",
    }
    (tmp_path / "machine.csv").write_text("study_id,report_0\n1,sinus rhythm\n")
    for name, text in contents.items():
        (tmp_path / f"{name}.csv").write_text(text)
        cases.append(
            (
                "labels",
                "mimic_iv_ecg",
                "--output_dir",
                "labels",
                "--machine_measurements",
                "machine.csv",
                "--meta",
                f"{name}.csv",
            )
        )
    (tmp_path / "bytes.csv").write_bytes(b"idx,study_id\n\xff\xfe,1\n")
    cases.append((*cases[0][:-1], "bytes.csv"))
    refuse(tmp_path, cases)


def test_too_many_processes(tmp_path):
    (tmp_path / "r.txt").write_text("sinus\n")
    refuse(tmp_path, [("label", "r.txt", "--processes", number) for number in ("100000", "9" * 400, "-" + "9" * 400)])


def test_parquet_that_lies(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def write(name, column, **options):
        parquet.write_table(pyarrow.table({"text": column}), tmp_path / f"{name}.parquet", **options)

    def repeated(text, times):
        return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * times, pyarrow.int32()), [text])

    write("long", repeated("a " * 500_000, 3000), compression="zstd")
    write("plain", ["a " * 9_000_000], compression="zstd", use_dictionary=False)
    write("rows", repeated("sinus rhythm", 300_000), compression="zstd")
    write("lists", [["a"] * 5])
    write("bytes", pyarrow.array([b"\xff\xfe sinus", b"b"]).cast(pyarrow.binary()).view(pyarrow.string()))
    parquet.write_table(pyarrow.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "twice.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:-9])
    refuse(tmp_path, [("label", path.name, "--out", "out.csv") for path in sorted(tmp_path.glob("*.parquet"))])


def test_what_is_written_is_safe(tmp_path):
    """Nothing of a report makes a terminal obey or a spreadsheet calculate."""
    rows = ["=cmd()", "+1+1", "@x", "-2", "\x1b[31mred", "a\u202eb", "7"]
    lines = [f"{row},sinus rhythm {row}\n" for row in rows]
    (tmp_path / "r.csv").write_text("id,text\n" + "".join(lines), encoding="utf-8")
    os.rename(tmp_path / "r.csv", tmp_path / "=r.csv")
    for form in ("long", "wide", "jsonl", "text"):
        ended = attack(
            f"command('label', '=r.csv', '=r.csv', '--id', 'id', '--column', 'text', '--format', {form!r}, "
            "'--unmatched', 'rest.csv')",
            tmp_path,
        )
        assert ended.status == 0
        for text in (ended.out, (tmp_path / "rest.csv").read_text(encoding="utf-8")):
            assert "\x1b" not in text and "\u202e" not in text
            if form in ("long", "wide"):
                cells = {cell for line in text.splitlines() for cell in line.split(",")}
                assert {"'=cmd()", "'+1+1", "'@x", "-2", "7", "'=r.csv"} <= cells


_CHANGED_FOOTERS = """
import io, sys
import pyarrow, pyarrow.parquet
from ecgfm import Error
from ecgfm.labeler.parquet import parquet_batches

made = io.BytesIO()
table = pyarrow.table({"a": [f"sinus rhythm {i % 50}" for i in range(3000)], "b": range(3000)})
pyarrow.parquet.write_table(table, made, row_group_size=700)
data = made.getvalue()
begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
for value in (26, 71, 255):
    for at in range(begin, len(data) - 8):
        changed = data[:at] + bytes([value]) + data[at + 1:]
        try:
            for rows in parquet_batches(io.BytesIO(changed), "x.parquet", lambda names: [0], 1 << 20):
                break
        except (Error, OSError):
            pass
print("survived")
"""


def test_no_footer_of_parquet_ends_the_process():
    """Asked for some columns' sizes, pyarrow ends the process: an exception that it doesn't catch."""
    pytest.importorskip("pyarrow")
    run = subprocess.run([sys.executable, "-c", _CHANGED_FOOTERS], capture_output=True, text=True)
    assert run.stdout == "survived\n", run.stderr[-2000:]

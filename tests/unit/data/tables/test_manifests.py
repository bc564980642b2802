import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_segments import make_split

import ecgfm
from ecgfm.data.tables.manifests import cmsc_manifests, make_manifests
from ecgfm.data.tables.subset import subset_manifest
from ecgfm.io.manifest import read_manifest


@pytest.fixture
def tables(tmp_path):
    """Two sources with a record of the same name; `a` has records of 1 to 5 segments."""
    for source, split in (("a", ["train", "train", "valid", "test", "train"]), ("b", ["valid"])):
        lines = ["idx,save_file,split,path,sample_size"]
        for record, of in enumerate(split):
            stem = f"{record + 9 * (source == 'b')},r{record}.mat,{of},/data/{source}/seg/r{record}"
            lines += [f"{stem}_{i}.mat,2500" for i in range(record + 1)]
        (tmp_path / f"{source}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def lines(path):
    return path.read_text().split("\n")


def test_manifests_of_two_sources(tables):
    done = make_manifests(f"{tables}/a.csv, {tables}/b.csv", tables / "new" / "m")
    assert done == {"test": 4, "train": 8, "valid": 4}
    assert lines(tables / "new" / "m" / "valid.tsv") == [
        "\t/data/",
        *(f"a/seg/r2_{i}.mat\t2500" for i in range(3)),
        "b/seg/r0_0.mat\t2500",
        "",
    ]
    manifest = read_manifest(tables / "new" / "m" / "train.tsv")
    assert manifest.root == "/data/" and len(manifest) == 8 and manifest.sizes.tolist() == [2500] * 8


def test_pairs_are_of_one_record_and_one_split(tables):
    make_manifests([tables / "a.csv"], tables / "m")
    assert cmsc_manifests(tables / "m", tables / "m") == {"test": 2, "train": 3, "valid": 1}
    assert lines(tables / "m" / "cmsc" / "train.tsv") == [
        "/data/a/seg/",
        "mat",
        "r1\t2500\t0\t0,1",
        "r4\t2500\t0\t0,1",
        "r4\t2500\t0\t2,3",
        "",
    ]
    of = {}
    for split in ("train", "valid", "test"):
        manifest = read_manifest(tables / "m" / "cmsc" / f"{split}.tsv", pairs=True)
        plain = set(read_manifest(tables / "m" / f"{split}.tsv").names)
        for first, second in zip(manifest.names[::2], manifest.names[1::2]):
            assert first.rsplit("_", 1)[0] == second.rsplit("_", 1)[0] and {first, second} <= plain
            assert of.setdefault(first.rsplit("_", 1)[0], split) == split


def test_numbers_not_texts_order_the_segments(tmp_path):
    (tmp_path / "train.tsv").write_text("\t/d/\n" + "".join(f"r_{i}.mat\t10\n" for i in (10, 9, 2, 1, 11)))
    cmsc_manifests(tmp_path, tmp_path)
    assert lines(tmp_path / "cmsc" / "train.tsv")[2:4] == ["r\t10\t0\t1,2", "r\t10\t0\t9,10"]


@pytest.mark.parametrize(
    "row, words",
    [
        ("0,r0.mat,valid,/d/r0_1.mat,2500", ["line 3", "r0.mat", "train", "valid"]),
        ("0,r0.mat,train,/d/r0_0.mat,2500", ["line 3", "twice"]),
        ("0,r0.mat,train,/d/r0_1.mat,many", ["line 3", "'many'", "sample_size"]),
        ("0,r0.mat,train,,2500", ["line 3", "path"]),
        ("0,r0.mat,../x,/d/r0_1.mat,2500", ["line 3", "'../x'"]),
        ('0,r0.mat,train,"/d/a\tb_1.mat",2500', ["line 3", "path"]),
    ],
)
def test_tables_that_make_no_manifest(tmp_path, row, words):
    (tmp_path / "a.csv").write_text(f"idx,save_file,split,path,sample_size\n0,r0.mat,train,/d/r0_0.mat,2500\n{row}\n")
    with pytest.raises(ecgfm.FormatError) as info:
        make_manifests([tmp_path / "a.csv"], tmp_path / "m")
    assert all(word in str(info.value) for word in ["a.csv", *words]), str(info.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "text, pairs, words",
    [
        ("", False, ["empty"]),
        ("\t/d/\n", False, ["nothing"]),
        ("\t/d/\na.mat\n", False, ["line 2", "'a.mat'"]),
        ("\t/d/\na.mat\t10\nb.mat\tten\n", False, ["line 3"]),
        ("\t/d/\na.mat\t99999999999999999999999\n", False, ["line 2"]),
        ("\t/d/\na.mat\t10\n\nb.mat\t10\n", False, ["line 3"]),
        ("/d/\nmat\na\t10\t0\t0,1\n", False, ["line 2"]),
        ("\t/d/\na_0.mat\t10\na_1.mat\t10\n", True, ["second line"]),
        ("/d/\nmat\na\t10\t0\tx\n", True, ["line 3"]),
        ("/d/\nmat\na\t10\t0\t1\n", True, ["nothing"]),
    ],
)
def test_what_is_no_manifest(tmp_path, text, pairs, words):
    (tmp_path / "train.tsv").write_text(text)
    with pytest.raises(ecgfm.FormatError) as info:
        read_manifest(tmp_path / "train.tsv", pairs=pairs)
    assert all(word in str(info.value) for word in ["train.tsv", *words]), str(info.value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("a_0.\t\n\r12,-\x00é/"), max_size=60), st.booleans())
def test_any_text_is_a_manifest_or_a_named_error(tmp_path, text, pairs):
    path = tmp_path / "train.tsv"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        manifest = read_manifest(path, pairs=pairs)
    except ecgfm.FormatError as error:
        assert error.path == str(path)
        return
    assert manifest.starts[-1] == len(manifest.names) and len(manifest.lines) == len(manifest) > 0
    assert (manifest.sizes > 0).all() and (np.diff(manifest.starts) >= 1 + pairs).all()


def test_lines_that_are_left_out_keep_their_number(tmp_path):
    (tmp_path / "train.tsv").write_text("\t/d/\r\na.mat\t10\r\nb.mat\t300\r\nc.mat\t20\r\nd.mat\t300")
    manifest = read_manifest(tmp_path / "train.tsv", min_sample_size=20)
    assert manifest.names == ["b.mat", "c.mat", "d.mat"] and manifest.lines.tolist() == [1, 2, 3]
    (tmp_path / "pairs.tsv").write_text("/d/\nmat\na\t300\t0\t4\nb\t300\t0\t0,1,2\n")
    manifest = read_manifest(tmp_path / "pairs.tsv", pairs=True)
    assert manifest.names == ["b_0.mat", "b_1.mat"] and manifest.lines.tolist() == [1]


def test_pairs_need_plain_manifests(tmp_path):
    with pytest.raises(ecgfm.FormatError, match="no .tsv"):
        cmsc_manifests(tmp_path, tmp_path)
    with pytest.raises(ecgfm.FormatError, match="nowhere"):
        cmsc_manifests(tmp_path / "nowhere", tmp_path)
    for name in ("a.mat", "a_x.mat", "a_0.npy", "_0.mat"):
        (tmp_path / "train.tsv").write_text(f"\t/d/\nok_0.mat\t10\n{name}\t10\n")
        with pytest.raises(ecgfm.FormatError, match="line 3"):
            cmsc_manifests(tmp_path, tmp_path)
    assert not (tmp_path / "cmsc").exists()


def test_subset(tmp_path):
    make_split(tmp_path, records=20, segments=2)
    (tmp_path / "valid.tsv").write_text("\t/d/\nv_0.mat\t600\n")
    done = subset_manifest(tmp_path, 0.25, seed=3)
    assert done == {"records": (5, 20), "lines": (10, 40), "save_dir": str(tmp_path / "0.25")}
    whole, part = lines(tmp_path / "train.tsv"), lines(tmp_path / "0.25" / "train.tsv")
    assert part[0] == whole[0] and [line for line in whole if line in part] == part
    stems = [line.split("_")[0] for line in part[1:-1]]
    assert len(set(stems)) == 5 and all(stems.count(stem) == 2 for stem in stems)
    assert (tmp_path / "0.25" / "valid.tsv").read_bytes() == (tmp_path / "valid.tsv").read_bytes()
    assert json.loads((tmp_path / "0.25" / "subset_args.json").read_text())["seed"] == 3
    assert subset_manifest(tmp_path, 0.25, tmp_path / "same", seed=3)["lines"] == (10, 40)
    assert lines(tmp_path / "same" / "train.tsv") == part
    subset_manifest(tmp_path, 0.25, tmp_path / "other", seed=4)
    assert lines(tmp_path / "other" / "train.tsv") != part
    pairs = subset_manifest(tmp_path / "cmsc", 0.5)
    assert pairs["records"] == (10, 20) and lines(tmp_path / "cmsc" / "0.5" / "train.tsv")[1] == "mat"


@pytest.mark.parametrize(
    "percent, seed, field",
    [(0, 1, "percent"), (1.5, 1, "percent"), (np.nan, 1, "percent"), (0.001, 1, "percent"), (0.5, -1, "seed")],
)
def test_no_subset(tmp_path, percent, seed, field):
    make_split(tmp_path, records=3)
    with pytest.raises(ecgfm.ConfigError) as info:
        subset_manifest(tmp_path, percent, tmp_path / "new", seed=seed)
    assert info.value.field == field and not (tmp_path / "new").exists()


def test_a_subset_does_not_replace_a_folder(tmp_path):
    make_split(tmp_path, records=3)
    (tmp_path / "new").mkdir()
    with pytest.raises(ecgfm.ConfigError, match="new exists"):
        subset_manifest(tmp_path, 0.5, tmp_path / "new")
    with pytest.raises(ecgfm.FormatError, match="train.tsv"):
        subset_manifest(tmp_path / "new", 0.5)

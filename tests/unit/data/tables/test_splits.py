import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ecgfm
from ecgfm.data.tables.splits import assign_splits, make_splits, split_fractions


def counts(done):
    return [int((done.split == label).sum()) for label in ("train", "valid", "test")]


@pytest.mark.parametrize(
    "given_, expected",
    [
        ("0.8,0.1,0.1", [0.8, 0.1, 0.1]),
        ("0.8, 0.1", [0.8, 0.1, 0.1]),
        ("[.5]", [0.5, 0.5]),
        ("8,1,1", [0.8, 0.1, 0.1]),
        ([2, 2], [0.5, 0.5]),
        (0.75, [0.75, 0.25]),
        ("1", [1.0]),
        ("0.7,0.2,0.1", [0.7, 0.2, 0.1]),
    ],
)
def test_fractions(given_, expected):
    found = split_fractions(given_)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    "given_", ["", "a,b", "0.5,,0.5", "0,0", [-0.5, 1.5], [float("nan")], [float("inf"), 1], "1.2.3"]
)
def test_no_fractions(given_):
    with pytest.raises(ecgfm.ConfigError) as info:
        split_fractions(given_)
    assert info.value.field == "fractions"


def test_random_cuts_where_the_original_does():
    for n in (1, 7, 10, 14, 999):
        done = assign_splits(n, "random", seed=3)
        first, second = np.round(np.cumsum([0.8, 0.1]) * n).astype(int)
        assert counts(done) == [first, second - first, n - second]
        np.testing.assert_array_equal(done.rows, np.arange(n))


def test_the_seed_decides():
    one, same, other = (assign_splits(200, "random", seed=seed).split.tolist() for seed in (5, 5, 6))
    assert one == same != other
    groups = [str(i % 37) for i in range(200)]
    one, same, other = (assign_splits(200, "grouped", groups=groups, seed=s).split.tolist() for s in (5, 5, 6))
    assert one == same != other


def test_the_global_generator_is_left_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    assign_splits(20, "random", seed=1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(0, 2**32 - 1))
def test_no_group_is_in_two_splits(groups, seed):
    done = assign_splits(len(groups), "grouped", groups=groups, seed=seed)
    of = {}
    for row, label in zip(done.rows, done.split):
        assert of.setdefault(groups[row], label) == label
    assert len(done.rows) == len(groups)
    n = len(set(groups))
    sizes = [sum(label == wanted for label in of.values()) for wanted in ("train", "valid", "test")]
    first = int(0.8 * n + 1e-9)
    assert sizes == [first, (n - first) // 2, n - first - (n - first) // 2]


def test_groups_do_not_depend_on_the_order_of_the_rows():
    groups = [f"p{i % 23}" for i in range(100)]
    order = np.random.RandomState(0).permutation(100)
    one = assign_splits(100, "grouped", groups=groups, seed=2)
    other = assign_splits(100, "grouped", groups=[groups[i] for i in order], seed=2)
    assert [one.split[i] for i in order] == other.split.tolist()


def test_rows_without_a_group_are_left_out():
    done = assign_splits(4, "grouped", groups=["a", "", "b", None], fractions="0.5,0.5", split_labels="x,y")
    assert done.rows.tolist() == [0, 2] and done.dropped == {"without a group": 2}


def test_by_date():
    dates = ["2012-03-01", "2010-01-01", "2011-05-05", "2010-01-02", "2013-01-01"]
    done = assign_splits(5, "temporal", dates=dates, fractions="0.6,0.2,0.2")
    assert done.rows.tolist() == [1, 3, 2, 0, 4]
    assert done.split.tolist() == ["train"] * 3 + ["valid", "test"]
    assert done.transitions == ["2011-05-05", "2012-03-01"]
    done = assign_splits(3, "temporal", dates=["9", "100", "20"], fractions="0.5,0.5", split_labels="a,b")
    assert done.rows.tolist() == [0, 2, 1]  # as numbers


def test_groups_and_dates():
    #        train    train    train    train    valid    test
    dates = ["1", "2", "3", "4", "5", "6"]
    groups = ["a", "a", "b", "c", "a", "b"]
    options = {"dates": dates, "groups": groups, "fractions": [4, 1, 1]}
    every = assign_splits(6, "grouped_temporal", filter_strategy=False, **options)
    # b has one record in train and one in test: of equal ones, the first by name
    assert every.group_split.tolist() == ["train", "train", "test", "train", "train", "test"]
    assert every.split.tolist() == ["train"] * 4 + ["valid", "test"]
    agreeing = assign_splits(6, "grouped_temporal", filter_strategy=True, **options)
    assert agreeing.rows.tolist() == [0, 1, 3, 5]
    train = assign_splits(6, "grouped_temporal", **options)
    assert train.rows.tolist() == [0, 1, 3, 5] and train.dropped == {"whose group is in another split": 2}
    valid = assign_splits(6, "grouped_temporal", filter_strategy="valid", **options)
    assert valid.rows.tolist() == [0, 1, 2, 3, 5]


@pytest.mark.parametrize(
    "arguments, field",
    [
        (("clever",), "strategy"),
        (("random", {"groups": [1, 2]}), "groups"),
        (("grouped",), "groups"),
        (("grouped", {"groups": [1]}), "groups"),
        (("temporal", {"groups": [1, 2]}), "groups"),
        (("temporal",), "dates"),
        (("grouped_temporal", {"groups": [1, 2]}), "dates"),
        (("random", {"split_labels": "a,b"}), "split_labels"),
        (("random", {"split_labels": "a,b,a"}), "split_labels"),
        (("random", {"seed": -1}), "seed"),
        (("random", {"seed": 1.5}), "seed"),
        (
            ("grouped_temporal", {"groups": [1, 2], "dates": [1, 2], "filter_strategy": "testing"}),
            "grouped_temporal_filter_strategy",
        ),
    ],
)
def test_arguments_that_do_not_fit(arguments, field):
    strategy, options = arguments[0], arguments[1] if len(arguments) > 1 else {}
    with pytest.raises(ecgfm.ConfigError) as info:
        assign_splits(2, strategy, **options)
    assert info.value.field == field


# ---- files


@pytest.fixture
def root(tmp_path):
    """20 records of 7 patients, two or three segments each; record 3 has NaN, record 4 is of another data set."""
    meta, segmented = ["idx,save_file,patient,when,nan_any,dataset,age"], ["path,save_file,sample_size"]
    for i in range(20):
        patient = "" if i == 19 else f"p{i % 7}"
        data = "b" if i == 4 else "a"
        meta.append(f"{i},r{i}.mat,{patient},20{10 + (7 * i) % 20}-01-01,{i == 3},{data},{40 + i}")
        segmented += [f"/data/r{i}_{k}.mat,r{i}.mat,2500" for k in range(2 + i % 2)]
    (tmp_path / "meta.csv").write_text("\n".join(meta) + "\n")
    (tmp_path / "segmented.csv").write_text("\n".join(segmented) + "\n")
    return tmp_path


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_tables(root):
    done = make_splits(
        root,
        "grouped",
        group_col="patient",
        filter_cols="nan_any",
        dataset_subset="a",
        keep_cols="age",
        fractions="0.5,0.25,0.25",
        seed=4,
    )
    meta, segments = table(root / "meta_split.csv"), table(root / "segmented_split.csv")
    assert list(meta[0]) == ["idx", "save_file", "split", "patient", "age"]
    assert list(segments[0]) == ["idx", "save_file", "split", "patient", "age", "path", "sample_size"]
    assert [int(row["idx"]) for row in meta] == [i for i in range(19) if i not in (3, 4)]
    assert done["dropped"] == {"of other data sets": 1, "with nan_any": 1, "without a group": 1}
    of_record = {row["save_file"]: row["split"] for row in meta}
    assert len({(row["patient"], row["split"]) for row in meta}) == 7
    assert all(of_record[row["save_file"]] == row["split"] for row in segments)
    assert len(segments) == sum(2 + int(row["idx"]) % 2 for row in meta)
    assert all(row["age"] == str(40 + int(row["idx"])) for row in segments)
    told = json.loads((root / "meta_split_args.json").read_text())
    assert told["seed"] == 4 and told["records"] == done["counts"] and told["segments"] == done["segments"]
    first = {name: (root / name).read_bytes() for name in ("meta_split.csv", "segmented_split.csv")}
    make_splits(
        root,
        "grouped",
        group_col="patient",
        filter_cols="nan_any",
        dataset_subset="a",
        keep_cols="age",
        fractions="0.5,0.25,0.25",
        seed=4,
    )
    assert {name: (root / name).read_bytes() for name in first} == first


def test_by_date_and_group(root):
    done = make_splits(root, "grouped_temporal", group_col="patient", date_col="when", save_files_suffix="_when")
    rows = table(root / "meta_when.csv")
    assert list(rows[0]) == ["idx", "save_file", "split", "patient", "patient_split", "when"]
    assert [row["when"] for row in rows] == sorted(row["when"] for row in rows)
    assert all((row["split"] == "train") == (row["patient_split"] == "train") for row in rows)
    assert len(done["transitions"]) == 2
    make_splits(root, "grouped_temporal", group_col="patient", date_col="when", grouped_temporal_filter_strategy=True)
    assert list(table(root / "meta_split.csv")[0]) == ["idx", "save_file", "split", "patient", "when"]


def test_without_a_table_of_segments(root):
    (root / "segmented.csv").unlink()
    assert make_splits(root, "random")["segments"] is None
    assert len(table(root / "meta_split.csv")) == 20 and not (root / "segmented_split.csv").exists()
    with pytest.raises(ecgfm.FormatError, match="others.csv"):
        make_splits(root, "random", segmented_file="others.csv")


def test_tables_that_can_not_be_split(root):
    before = sorted(path.name for path in root.iterdir())
    for options, words in (
        ({"strategy": "grouped", "group_col": "nobody"}, ["meta.csv", "nobody"]),
        ({"strategy": "random", "filter_cols": "age"}, ["meta.csv", "age", "line 2", "'40'"]),
        ({"strategy": "random", "dataset_subset": "c"}, ["meta.csv", "no record"]),
        ({"strategy": "random", "save_files_suffix": ""}, ["save_files_suffix"]),
        ({"strategy": "random", "meta_file": "no.csv"}, ["no.csv"]),
    ):
        with pytest.raises(ecgfm.Error) as info:
            make_splits(root, options.pop("strategy"), **options)
        assert all(word in str(info.value) for word in words), str(info.value)
    assert sorted(path.name for path in root.iterdir()) == before
    text = (root / "meta.csv").read_text()
    (root / "meta.csv").write_text(text + "77,r3.mat,p1,2010-01-01,False,a,40\n")
    with pytest.raises(ecgfm.FormatError, match="r3.mat stands twice"):
        make_splits(root, "random")
    (root / "meta.csv").write_text(text + "3,r77.mat,p1,2010-01-01,False,a,40\n")
    with pytest.raises(ecgfm.FormatError, match="idx: line 22: 3 stands twice"):
        make_splits(root, "random")
    (root / "meta.csv").write_text(text.replace("age", "split", 1))
    with pytest.raises(ecgfm.FormatError) as info:
        make_splits(root, "random")
    assert info.value.field == "split"

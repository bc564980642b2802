"""What happens to one recording, the .mat files, and CODE-15% as a data set of our own making."""

import json

import data_sets
import numpy as np
import pytest

import ecgfm
from ecgfm.data import Options, condition, cut, describe, open_packed, preprocess, read_mat, reorder_leads
from ecgfm.data.mat import mat_bytes

LEADS = list(ecgfm.LEADS)


@pytest.fixture
def x():
    return data_sets.signal(11, 400, seed=3)


def by_hand(x, rate, new_rate=500):
    """Resampling and standardising with NumPy alone."""
    samples = x.shape[1] if rate == new_rate else int(x.shape[1] * (new_rate / rate))
    at = np.linspace(0, samples - 1, x.shape[1])
    y = np.stack([np.interp(np.arange(samples), at, lead) for lead in x.astype(np.float64)])
    return (y - y.mean(axis=1, keepdims=True)) / y.std(axis=1, keepdims=True)


@pytest.mark.parametrize("rate", [100, 257, 400, 500, 1000])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", ">f8"])
def test_condition(x, rate, dtype):
    given = (x * 1000).astype(dtype)
    kept = given.copy()
    found, mean, std = condition(given, rate)
    np.testing.assert_allclose(found, by_hand(kept, rate), atol=1e-5 if dtype == "f4" else 1e-11)
    np.testing.assert_array_equal(given, kept)
    assert mean.shape == std.shape == (12,) and found.dtype == np.float64


def test_a_constant_lead_that_no_sum_gets_exactly(x):
    x[3] = 0.7
    found, _, std = condition(x, 500)
    assert not found[3].any() and std[3] == 0
    assert np.isnan(condition(x, 500, constant_lead_strategy="nan")[0][3]).all()
    assert abs(condition(x, 500, constant_lead_strategy="constant")[0][3]).max() < 1e-12
    assert describe(x)["constant_leads"] == "['aVR']"


def test_describe(x):
    x[1, 5] = np.nan
    x[2] = np.nan
    found = describe(x)
    assert (found["nan_any"], found["nan_leads_any"], found["nan_leads"]) == (True, True, "['III']")
    assert (found["constant_leads_any"], found["constant_leads"]) == (False, "[]")
    assert found["mean_0"].dtype == np.float32 and np.isnan(found["mean_1"])
    np.testing.assert_allclose(found["std_0"], x[0].std(), rtol=1e-4)


def test_sums_of_a_long_recording():
    long = np.full((1, 20_000_000), 0.1, dtype=np.float32)
    assert describe(long, ["I"])["mean_0"] == np.float32(0.1)


def test_cut(x):
    y = condition(x, 400)[0]
    found = cut(y, 2500)
    assert found.shape == (2, 12, 2500) and found.dtype == np.float32
    np.testing.assert_array_equal(found[1], y[:, 2500:5000].astype(np.float32))
    assert cut(y[:, :2499], 2500).shape == (0, 12, 2500)


def test_reordering_and_spelling(x):
    order = np.random.RandomState(0).permutation(12)
    found, available, derived = reorder_leads(x[order], [LEADS[i].upper() for i in order])
    np.testing.assert_array_equal(found, x)
    assert (available, derived) == (LEADS, [])
    fifteen = np.concatenate([x, x[:3]])
    np.testing.assert_array_equal(reorder_leads(fifteen, [*LEADS, "vx", "vy", "vz"])[0], x)
    np.testing.assert_array_equal(reorder_leads(x, LEADS, ["V1", "I"])[0], x[[6, 0]])


def test_missing_leads(x):
    eight = [0, 1, *range(6, 12)]
    names = [LEADS[i] for i in eight]
    with pytest.raises(ecgfm.LeadError, match="III, aVR, aVL, aVF"):
        reorder_leads(x[eight], names, missing="error")
    found, available, derived = reorder_leads(x[eight], names, missing="derive")
    assert (available, derived) == (LEADS, ["III", "aVR", "aVL", "aVF"])
    np.testing.assert_allclose(found[2], x[1] - x[0], atol=1e-6)
    with pytest.raises(ecgfm.LeadError, match="missing: V1 "):
        reorder_leads(x[[0, 1, *range(7, 12)]], [LEADS[i] for i in (0, 1, *range(7, 12))], missing="derive")
    found, available, derived = reorder_leads(x[eight], names, missing="zero")
    assert not found[2:6].any() and available == names and derived == []
    assert np.isnan(reorder_leads(x[eight], names, missing="nan")[0][2:6]).all()
    with pytest.raises(ecgfm.LeadError, match="missing"):
        reorder_leads(x[:2], ["X", "Y"], missing="zero")
    with pytest.raises(ecgfm.LeadError, match="more than once: I"):
        reorder_leads(x[:2], ["I", "i"])


@pytest.mark.parametrize(
    "field, options",
    [
        ("segment_seconds", {"segment_seconds": 0.0001}),
        ("segment_seconds", {"segment_seconds": 5.0001}),
        ("segment_seconds", {"segment_seconds": float("nan")}),
        ("desired_sample_rate", {"sample_rate": 0}),
        ("leads", {"leads": (12,)}),
        ("leads", {"leads": ()}),
        ("constant_lead_strategy", {"constant_lead_strategy": "one"}),
        ("missing_leads", {"missing_leads": "ignore"}),
    ],
)
def test_options_that_can_not_be(field, options):
    with pytest.raises(ecgfm.ConfigError) as caught:
        Options(**options)
    assert caught.value.field == field


def test_options_are_put_in_order():
    options = Options(leads=(6, 0, 6), segment_seconds=2.5, sample_rate=250.0)
    assert (options.lead_names, options.segment_samples, options.sample_rate) == (["I", "V1"], 625, 250)


@pytest.fixture
def fields(x):
    return {
        "rate": 500,
        "gain": 2.5,
        "feats": x,
        "double": x.astype(np.float64).T,
        "column": np.arange(12.0)[:, None],
        "i": np.arange(3, dtype=np.int16),
        "one": np.array([[7.5]], dtype=np.float32),
        "segment_i": 0,
    }


def test_mat_files_are_those_of_scipy(fields, tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    (tmp_path / "a.mat").write_bytes(b"".join(map(bytes, mat_bytes(fields))))
    scipy_io.savemat(tmp_path / "b.mat", fields)
    assert (tmp_path / "a.mat").read_bytes()[128:] == (tmp_path / "b.mat").read_bytes()[128:]
    found = scipy_io.loadmat(tmp_path / "a.mat")
    for name, value in fields.items():
        np.testing.assert_array_equal(found[name], np.atleast_2d(value))


def test_mat_files_are_read_back(fields, tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    (tmp_path / "a.mat").write_bytes(b"".join(map(bytes, mat_bytes(fields))))
    scipy_io.savemat(tmp_path / "b.mat", fields, do_compression=True)
    for name in ("a.mat", "b.mat"):
        found = read_mat(tmp_path / name)
        assert list(found) == list(fields)
        for field, value in fields.items():
            np.testing.assert_array_equal(found[field], np.atleast_2d(value))
            assert found[field].dtype == np.asarray(value).dtype


def test_damaged_mat_files(fields, tmp_path):
    pytest.importorskip("scipy.io")
    whole = b"".join(map(bytes, mat_bytes(fields)))
    path = tmp_path / "a.mat"
    for size in [0, 100, 127, 130, 200, 1000, len(whole) - 9]:
        path.write_bytes(whole[:size])
        with pytest.raises(ecgfm.FormatError):
            read_mat(path)
    generator = np.random.RandomState(0)
    for _ in range(300):  # whatever a damaged byte makes of the file, no other error comes of it
        damaged = bytearray(whole)
        damaged[generator.randint(120, 900)] = generator.randint(256)
        path.write_bytes(damaged)
        try:
            read_mat(path)
        except ecgfm.Error:
            pass


def exams(count=5, seconds=(7.3, 10.24)):
    return {1000 + 7 * i: data_sets.signal(seconds[i % 2], 400, seed=i) for i in range(count)}


@pytest.fixture
def raw(tmp_path):
    pytest.importorskip("h5py")
    return data_sets.code_15(tmp_path / "raw", exams())


def test_code_15(raw, tmp_path):
    out = tmp_path / "out"
    summary = preprocess("code_15", out, raw)
    assert (summary.records, summary.segments, summary.resumed, summary.skipped) == (5, 7, 0, 0)
    meta = data_sets.read_table(out / "meta.csv")
    assert [row["idx"] for row in meta] == list("01234")
    assert [row["exam_id"] for row in meta] == ["1000", "1007", "1014", "1021", "1028"]
    assert [(row["trace_file"], row["hdf_ind"]) for row in meta[:3]] == [
        ("exams_part0.hdf5", "0"),
        ("exams_part1.hdf5", "0"),
        ("exams_part0.hdf5", "1"),
    ]
    for i, (number, signal) in enumerate(exams().items()):
        org = read_mat(out / f"org/code_15_{number}.mat")
        np.testing.assert_array_equal(org["feats"], signal)
        assert (org["idx"].item(), org["org_sample_rate"].item()) == (i, 400)
        assert meta[i]["sample_size"] == str(signal.shape[1])
        done = read_mat(out / f"preprocessed/code_15_{number}.mat")
        np.testing.assert_allclose(done["feats"], by_hand(signal, 400), atol=1e-5)
        part = read_mat(out / f"segmented/code_15_{number}_0.mat")
        np.testing.assert_array_equal(part["feats"], done["feats"][:, :2500])
        assert (part["curr_sample_size"].item(), part["segment_i"].item()) == (2500, 0)
        assert float(meta[i]["mean_0"]) == pytest.approx(signal[0].mean(), abs=1e-6)
    segmented = data_sets.read_table(out / "segmented.csv")
    assert [row["path"] for row in segmented] == sorted(str(path) for path in (out / "segmented").iterdir())
    assert data_sets.read_table(out / "errors.csv") == []
    manifest = data_sets.read_table(out / "manifest.csv")
    assert [row["source_path"] for row in manifest] == [row["exam_id"] for row in meta]


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_one_process_or_several_give_the_same(raw, tmp_path):
    for workers in (1, 3):
        preprocess("code_15", tmp_path / "out", raw, workers=workers)
        (tmp_path / "out").rename(tmp_path / f"out{workers}")
    assert files_of(tmp_path / "out1").keys() == files_of(tmp_path / "out3").keys()
    for path, content in files_of(tmp_path / "out1").items():
        assert content == (tmp_path / "out3" / path).read_bytes(), path


def test_straight_to_segments(raw, tmp_path):
    preprocess("code_15", tmp_path / "all", raw)
    preprocess("code_15", tmp_path / "fused", raw, stages=["segmented"])
    assert not (tmp_path / "fused/org").exists() and not (tmp_path / "fused/preprocessed").exists()
    assert files_of(tmp_path / "fused/segmented") == files_of(tmp_path / "all/segmented")
    assert (
        files_of(tmp_path / "fused")[(tmp_path / "fused/meta.csv").relative_to(tmp_path / "fused")]
        == (tmp_path / "all/meta.csv").read_bytes()
    )


def test_stage_by_stage(raw, tmp_path):
    preprocess("code_15", tmp_path / "all", raw)
    out = tmp_path / "steps"
    assert preprocess("code_15", out, raw, skip=["preprocessed", "segmented"]).segments == 0
    assert not (out / "segmented.csv").exists()
    preprocess("code_15", out, skip=["org", "segmented"])
    assert preprocess("code_15", out, skip=["org", "preprocessed"]).segments == 7
    for stage in ("org", "preprocessed", "segmented"):
        assert files_of(out / stage) == files_of(tmp_path / "all" / stage)
    assert (out / "meta.csv").read_bytes() == (tmp_path / "all/meta.csv").read_bytes()


def test_a_stage_that_is_skipped_and_not_there(raw, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/records.csv").write_bytes((raw / "exams.csv").read_bytes())
    with pytest.raises(ecgfm.Error, match="none of the 5 .*no such file"):
        preprocess("code_15", tmp_path / "out", skip=["org"])


def test_options(raw, tmp_path):
    options = Options(sample_rate=250, segment_seconds=2.5, standardize=False, leads=(0, 6))
    preprocess("code_15", tmp_path / "out", raw, options=options)
    part = read_mat(tmp_path / "out/segmented/code_15_1007_3.mat")
    assert part["feats"].shape == (2, 625) and "mean" not in part and part["curr_sample_rate"].item() == 250
    x = exams()[1007][[0, 6]]
    expected = np.interp(np.arange(2560), np.linspace(0, 2559, x.shape[1]), x[1].astype(np.float64))
    np.testing.assert_allclose(part["feats"][1], expected[3 * 625 : 4 * 625], atol=1e-6)
    meta = data_sets.read_table(tmp_path / "out/meta.csv")[0]
    assert meta["lead_order"] == "['I', 'V1']" and "mean_1" in meta and "mean_2" not in meta


def test_numbers_go_on_in_the_manifest(raw, tmp_path):
    more = data_sets.code_15(tmp_path / "more", {5: data_sets.signal(10, 400), 6: data_sets.signal(10, 400)})
    manifest = tmp_path / "manifest.csv"
    data_sets.write_table(
        manifest,
        [
            {
                "idx": 41,
                "source": "other",
                "source_path": "a",
                "save_file": "a.mat",
                "sample_rate": 500,
                "sample_size": 1,
            }
        ],
    )
    for _ in range(2):  # a second run changes nothing
        preprocess("code_15", tmp_path / "one", raw, manifest_file=manifest)
        preprocess("code_15", tmp_path / "two", more, manifest_file=manifest)
        rows = data_sets.read_table(manifest)
        assert [int(row["idx"]) for row in rows] == list(range(41, 49))
    assert read_mat(tmp_path / "two/segmented/code_15_6_1.mat")["idx"].item() == 48
    with pytest.raises(ecgfm.FormatError, match="code_15_5.mat is there already, with the number 47"):
        preprocess("code_15", tmp_path / "three", more, manifest_file=manifest)
    assert not (tmp_path / "three/org").exists()


def test_a_run_with_other_options_is_refused(raw, tmp_path):
    preprocess("code_15", tmp_path / "out", raw)
    before = files_of(tmp_path / "out")
    with pytest.raises(ecgfm.ConfigError, match="segment_seconds 5; now it is 2.5"):
        preprocess("code_15", tmp_path / "out", raw, options=Options(segment_seconds=2.5))
    assert files_of(tmp_path / "out") == before


def test_the_journal_can_be_read_by_people(raw, tmp_path):
    preprocess("code_15", tmp_path / "out", raw)
    lines = (tmp_path / "out/.ecgfm/preprocess.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["source"] == {"name": "code_15"}
    assert [json.loads(line)["i"] for line in lines[1:]] == [0, 1, 2, 3, 4]


def segments_of(folder, name):
    parts = sorted((folder / "segmented").glob(f"{name}_*.mat"))
    return np.stack([read_mat(path)["feats"] for path in parts]).astype(np.float32)


@pytest.mark.parametrize("workers", [1, 2])
def test_packed(raw, tmp_path, workers):
    preprocess("code_15", tmp_path / "mats", raw)
    preprocess("code_15", tmp_path / "out", raw, packed=True, workers=workers)
    assert not (tmp_path / "out/segmented").exists()
    assert sorted(path.name for path in (tmp_path / "out/packed").iterdir()) == ["all.index.csv", "all.npy"]
    packed = open_packed(tmp_path / "out/packed/all.npy")
    assert packed.x.shape == (7, 12, 2500) and packed.idx.tolist() == [0, 1, 1, 2, 3, 3, 4]
    assert packed.segment_i.tolist() == [0, 0, 1, 0, 0, 1, 0] and set(packed.sample_rate) == {500}
    for number in exams():
        name = f"code_15_{number}"
        rows = packed.save_file == f"{name}.mat"
        np.testing.assert_array_equal(packed.x[rows], segments_of(tmp_path / "mats", name))
    assert (tmp_path / "out/meta.csv").read_bytes() == (tmp_path / "mats/meta.csv").read_bytes()


def test_packed_by_split(raw, tmp_path):
    splits = {1000: "train", 1007: "valid", 1014: "train", 1028: "valid"}  # one recording was filtered out
    data_sets.write_table(
        tmp_path / "meta_split.csv", [{"save_file": f"code_15_{n}.mat", "split": split} for n, split in splits.items()]
    )
    preprocess("code_15", tmp_path / "out", raw, packed=True)
    everything = open_packed(tmp_path / "out/packed/all.npy")
    preprocess("code_15", tmp_path / "out", raw, packed_splits=tmp_path / "meta_split.csv")
    for split in ("train", "valid"):
        found = open_packed(tmp_path / f"out/packed/{split}.npy")
        rows = np.isin(everything.save_file, [f"code_15_{n}.mat" for n, of in splits.items() if of == split])
        np.testing.assert_array_equal(found.x, everything.x[rows])
        assert found.save_file.tolist() == everything.save_file[rows].tolist()


def test_packed_files_that_do_not_belong_together(raw, tmp_path):
    preprocess("code_15", tmp_path / "out", raw, packed=True)
    path = tmp_path / "out/packed/all.npy"
    index = tmp_path / "out/packed/all.index.csv"
    text = index.read_text()
    for content, message in [
        (text.rsplit("\n", 2)[0] + "\n", "6 rows for 7 segments"),
        (text.replace("idx", "number"), "missing: idx"),
        (text.replace("\n1,", "\none,"), "not a number"),
    ]:
        index.write_text(content)
        with pytest.raises(ecgfm.FormatError, match=message):
            open_packed(path)
    index.unlink()
    with pytest.raises(ecgfm.FormatError, match="isn't finished"):
        open_packed(path)
    index.write_text(text)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ecgfm.FormatError, match="not a packed file"):
        open_packed(path)


def test_a_packed_file_without_segments(tmp_path):
    pytest.importorskip("h5py")
    raw = data_sets.code_15(tmp_path / "raw", {7: data_sets.signal(4, 400)})
    assert preprocess("code_15", tmp_path / "out", raw, packed=True).segments == 0
    assert open_packed(tmp_path / "out/packed/all.npy").x.shape == (0, 12, 2500)

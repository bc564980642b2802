import json

import numpy as np
import pytest
from made_segments import make_split, write_segment

import ecgfm
from ecgfm.data import Dataset, Loader


@pytest.fixture
def split(tmp_path):
    return tmp_path, make_split(tmp_path)


def gathered(loader, epoch=1):
    return [batch.id.tolist() for batch in loader.epoch(epoch)]


@pytest.mark.parametrize("source", ["train.tsv", "packed/train.npy"])
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_hold_the_segments(split, source, threads):
    folder, x = split
    labels = np.arange(20 * 3).reshape(20, 3) % 2
    np.save(folder / "y.npy", labels)
    data = Dataset(folder / source, training=True, labels=folder / "y.npy", sample_rate=500)
    loader = Loader(data, batch_size=5, threads=threads)
    seen = []
    for batch in loader:
        assert batch.x.dtype == np.float32 and batch.padding_mask is None and batch.segment is None
        np.testing.assert_array_equal(batch.x, x[batch.id])
        np.testing.assert_array_equal(batch.idx, 10 + batch.id // 2)
        np.testing.assert_array_equal(batch.y, labels[batch.idx])
        seen += batch.id.tolist()
    assert sorted(seen) == list(range(12)) and len(loader) == 3


@pytest.mark.parametrize("source", ["cmsc/train.tsv", "packed/train.npy"])
def test_pairs_are_of_one_record(split, source):
    folder, x = split
    data = Dataset(folder / source, pairs=True, training=True)
    assert len(data) == 6 and data.num_segments == 12
    for batch in Loader(data, batch_size=4):
        assert len(batch) == 2 * batch.size
        np.testing.assert_array_equal(batch.segment, np.arange(len(batch)) % 2)
        np.testing.assert_array_equal(batch.idx[::2], batch.idx[1::2])
        np.testing.assert_array_equal(batch.x, x[2 * (batch.idx - 10) + batch.segment])


def test_a_damaged_segment_is_named_and_skipped_in_training_only(split):
    folder, x = split
    (folder / "segmented" / "r3_1.mat").write_bytes(b"no file of that kind")
    named = []
    loader = Loader(
        Dataset(folder / "train.tsv", training=True),
        batch_size=4,
        max_bad_segments=0.1,
        report=lambda name, error: named.append(name),
    )
    for epoch in (1, 2):
        assert sorted(sum(gathered(loader, epoch), [])) == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert named == list(loader.bad) == [str(folder / "segmented" / "r3_1.mat")]
    with pytest.raises(ecgfm.FormatError, match="r3_1.mat"):
        list(Loader(Dataset(folder / "train.tsv"), batch_size=4, max_bad_segments=0.1))
    with pytest.raises(ecgfm.FormatError, match="1 of 12 segments") as info:
        list(Loader(Dataset(folder / "train.tsv", training=True), batch_size=4, report=lambda *_: None))
    assert info.value.field == "max_bad_segments"


def test_ranks_share_the_batches(split):
    folder, _ = split
    data = Dataset(folder / "train.tsv", training=True)
    whole = gathered(Loader(data, batch_size=2), 2)
    assert [sorted(part) for part in whole] != [[i, i + 1] for i in range(0, 12, 2)]
    ranks = [gathered(Loader(data, batch_size=2, rank=r, ranks=4), 2) for r in range(4)]
    assert [len(part) for part in ranks] == [2] * 4
    assert [ranks[i % 4][i // 4] for i in range(8)] == whole + [[], []]


def test_resuming_in_the_middle_of_an_epoch(split):
    folder, _ = split
    loader = Loader(Dataset(folder / "train.tsv", training=True), batch_size=2)
    assert [batch.id.tolist() for batch in loader.epoch(3, start=4)] == gathered(loader, 3)[4:]


def test_a_manifest_that_points_nowhere(tmp_path):
    (tmp_path / "train.tsv").write_text(f"\t{tmp_path}/nowhere/\na_0.mat\t600\n")
    with pytest.raises(ecgfm.FormatError, match="nowhere") as info:
        Dataset(tmp_path / "train.tsv")
    assert info.value.path == str(tmp_path / "train.tsv")
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(ecgfm.FormatError, match="a_0.mat"):
        Dataset(tmp_path / "train.tsv")
    with pytest.raises(ecgfm.FormatError, match="valid.tsv"):
        Dataset(tmp_path / "valid")


def test_shorter_segments_are_padded_and_longer_ones_cropped(tmp_path):
    x = [np.random.RandomState(i).normal(size=(12, samples)) for i, samples in enumerate((600, 400, 500))]
    lines = [f"\t{tmp_path}/"]
    for i, values in enumerate(x):
        write_segment(tmp_path / f"r{i}_0.mat", values, idx=i)
        lines.append(f"r{i}_0.mat\t{values.shape[1]}")
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")
    data = Dataset(tmp_path / "train.tsv", training=True)
    batch = next(iter(Loader(data, batch_size=3)))
    assert batch.id.tolist() == [0, 2, 1] and batch.x.shape == (3, 12, 600)
    assert batch.padding_mask.sum(axis=1).tolist() == [0, 100, 200] and (batch.x[2, :, 400:] == 0).all()
    for settings, target in (({"max_sample_size": 450}, 450), ({"pad": False}, 400)):
        data = Dataset(tmp_path / "train.tsv", training=True, **settings)
        starts = []
        for epoch in (1, 1, 2):
            batch = data.batch([0, 1], epoch)
            assert batch.x.shape == (2, 12, target)
            found = [s for s in range(601 - target) if np.array_equal(batch.x[0], x[0][:, s : s + target].astype("f4"))]
            starts += found
        assert len(starts) == 3 and starts[0] == starts[1] != starts[2]


def test_order_of_batches(shared):
    """All cases of the original's iterator."""
    cases = json.loads((shared / "golden" / "cli" / "batch_order.json").read_text())
    assert len(cases) == 24
    for case in cases:
        data = Dataset(np.zeros((case["n"], 12, 2), np.float32), training=True, seed=case["seed"])
        if case["sizes"] != "all 2500":
            data.sizes = np.where(np.arange(case["n"]) % 5 == 0, 1250, 2500)
        loader = Loader(
            data,
            batch_size=case["batch_size"],
            required_batch_size_multiple=case["required_batch_size_multiple"],
            shuffle=case["dataset_shuffle"],
        )
        assert [part.tolist() for part in loader.batches] == case["frozen_batches"]
        for epoch, expected in case["shuffled_per_epoch"].items():
            assert [part.tolist() for part in loader.order(int(epoch))] == expected

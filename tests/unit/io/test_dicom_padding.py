"""DICOM: which samples of the padding value are missing, and how encodings and numbers are read."""

import numpy as np
import pytest
from made_files import LEADS, counts, dicom_group, write_dicom

from ecgfm import FormatError, read

pytest.importorskip("pydicom", reason="writes the files of these tests")

X = counts(12, 1000)


def padded(path, x, value, kind="<i2"):
    group = dicom_group(x.astype(kind))
    if kind == "<u2":
        group.WaveformSampleInterpretation, group.WaveformData = "US", x.T.astype(kind).tobytes()
    group.add_new(0x5400100A, "OW", np.array([value], kind).tobytes())
    return read(write_dicom(path, group))


def test_zeros_are_samples(tmp_path):
    x = X.copy()
    x[:, ::7] = 0
    x[5] = 0  # a lead that is off
    record = padded(tmp_path / "a.dcm", x, 0)
    np.testing.assert_allclose(record.signal, x * 5e-3, rtol=1e-6)
    assert any("padding value 0 are kept" in note for note in record.notes)
    quiet = np.ones_like(x)
    quiet[:, ::3] = 0
    assert not np.isnan(padded(tmp_path / "a.dcm", quiet, 0).signal).any()
    assert not np.isnan(padded(tmp_path / "a.dcm", np.abs(X), 0).signal).any()


def test_any_value_among_the_samples_is_a_sample(tmp_path):
    for value in (100, -50, int(X[2].max()), int(X[2].min()) - 1):
        x = X.copy()
        x[2, 40:60] = value
        assert not np.isnan(padded(tmp_path / "a.dcm", x, value).signal).any()


@pytest.mark.parametrize("value", [-32768, 32767, -20000])
def test_what_cannot_be_a_sample_is_missing(tmp_path, value):
    x = X.copy()
    x[3, 17:30], x[4] = value, value
    signal = padded(tmp_path / "a.dcm", x, value).signal
    assert np.isnan(signal[3, 17:30]).all() and np.isnan(signal[4]).all() and np.isnan(signal).sum() == 1013


def test_zero_of_numbers_without_sign(tmp_path):
    """Around a middle of 30,000, 0 is far from all samples."""
    x = X.astype(np.int64) + 30_000
    x[0, :10] = 0
    signal = padded(tmp_path / "a.dcm", x, 0, "<u2").signal
    assert np.isnan(signal).sum() == 10 and np.isnan(signal[0, :10]).all()


def test_implicit_and_mislabelled_encodings(tmp_path):
    import pydicom

    path = write_dicom(tmp_path / "a.dcm", dicom_group(X))
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    pydicom.dcmwrite(path, data, implicit_vr=True, little_endian=True, enforce_file_format=True)
    np.testing.assert_allclose(read(path).signal, X * 5e-3, rtol=1e-6)
    raw = path.read_bytes()
    at = raw.index(b"1.2.840.10008.1.2\0")  # says explicit where it is implicit
    path.write_bytes(raw[: at - 2] + b"\x14\0" + b"1.2.840.10008.1.2.1\0" + raw[at + 18 :])
    np.testing.assert_allclose(read(path).signal, X * 5e-3, rtol=1e-6)


def test_sequences_of_undefined_length(tmp_path):
    group = dicom_group(X)
    group.is_undefined_length_sequence_item = True
    group["ChannelDefinitionSequence"].is_undefined_length = True
    path = write_dicom(tmp_path / "a.dcm", group)
    np.testing.assert_allclose(read(path).signal, X * 5e-3, rtol=1e-6)
    assert read(path).leads == LEADS


def test_several_numbers_are_refused(tmp_path):
    group = dicom_group(X)
    group.SamplingFrequency = ["500", "400"]
    with pytest.raises(FormatError, match=r"SamplingFrequency: '500\\\\400' is not one number"):
        read(write_dicom(tmp_path / "a.dcm", group))


def test_devices_that_pad_with_zero(shared):
    path = shared / "real/formats/dicom/Example.dcm"
    if not path.exists():
        pytest.skip("needs ../shared/real")
    record = read(path)
    assert record.samples == 5000 and not np.isnan(record.signal).any() and (record.signal == 0).sum() == 1269

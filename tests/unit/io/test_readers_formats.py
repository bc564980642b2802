"""Readers of the formats that the extra [io] brings: files made from known counts come back as millivolts."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from made_files import (
    EIGHT,
    LEADS,
    counts,
    dicom_group,
    write_aecg,
    write_code15,
    write_dicom,
    write_edf,
    write_muse,
    write_scp,
    write_wfdb,
)

import ecgfm
from ecgfm import FormatError, LeadError, MissingExtraError, SignalError, predict, prepare, read
from ecgfm import io as readers
from ecgfm.io import FORMATS, is_recording, members

for _module in ("wfdb", "pydicom", "ecgdatakit", "h5py"):
    pytest.importorskip(_module, reason="needs the extra [io]")

X = counts()


def check(record, x, factor, leads=LEADS, rate=500):
    """The leads that are in the file, to float32's rounding; nothing else but what is reported as derived."""
    assert record.sampling_rate == rate and record.samples == x.shape[1]
    assert record.signal.dtype == np.float32 and record.signal.flags.c_contiguous
    for name, row in zip(leads, x):
        found = record.signal[record.leads.index(name)]
        np.testing.assert_allclose(found, row.astype(np.float64) * factor, rtol=1e-6, atol=1e-9, err_msg=name)
    assert set(record.leads) - set(leads) == set(record.derived)


MAKERS = {
    "wfdb": ("a.hea", lambda path: write_wfdb(path, X), 1 / 200),
    "dicom": ("a.dcm", lambda path: write_dicom(path, dicom_group(X)), 5e-3),
    "muse": ("a.xml", lambda path: write_muse(path, X, LEADS), 4.88e-3),
    "aecg": ("a.xml", lambda path: write_aecg(path, X), 5e-3),
    "scp": ("a.scp", lambda path: write_scp(path, X), 5e-3),
    "edf": ("a.edf", lambda path: write_edf(path, X), 5e-3),
    "bdf": ("a.bdf", lambda path: write_edf(path, X, bdf=True, step=1), 1e-3),
    "hdf5": ("a.hdf5", lambda path: write_code15(path, X.T[None] * np.float32(0.01), [7]), 1e-2),
}


def make(kind, folder):
    name, write, factor = MAKERS[kind]
    return write(folder / name), factor


@pytest.fixture(params=MAKERS)
def made(request, tmp_path):
    """A file of each format, and what a count is in mV."""
    return make(request.param, tmp_path)


def test_known_counts_come_back(made):
    path, factor = made
    record = read(path, sampling_rate=500)
    check(record, X, factor)
    assert record.leads == LEADS and record.derived == () and record.source == str(path)


def test_the_content_tells_the_format(made, tmp_path):
    """Whatever a file is called, and with no ending at all."""
    path, factor = made
    if path.suffix == ".hea":  # a header's name is that of its record
        assert sum(form.matches(path.read_bytes()[:4096]) for form in FORMATS) == 1
        return
    for name in ("IM000001", "a.csv", "a.mat"):
        path = path.rename(tmp_path / name)
        check(read(path, sampling_rate=500), X, factor)
    assert is_recording(str(path))


def test_exactly_one_format_matches(made):
    path, _ = made
    head = path.read_bytes()[:4096]
    assert sum(form.matches(head) for form in FORMATS) == 1


def test_without_the_library(made, monkeypatch):
    path, _ = made
    if path.suffix in (".dcm", ".edf", ".bdf"):  # which need none
        return
    if path.suffix == ".hea":  # the usual WFDB needs none: state a counter frequency as well
        path.write_text(path.read_text().replace(" 500 ", " 500/360 ", 1))
    for name in list(sys.modules):
        if name.partition(".")[0] in ("wfdb", "ecgdatakit", "h5py"):
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"is not installed, which reads .*pip install 'ecgfm\[io\]'") as caught:
        read(path, 500)
    assert caught.value.path == str(path) and caught.value.field


def test_what_is_given_must_agree(made):
    path, _ = made
    if path.suffix != ".hdf5":  # which states no rate
        with pytest.raises(SignalError, match="the file says 500 Hz; given was 400 Hz"):
            read(path, 400)
    with pytest.raises(LeadError, match="the file says I, II"):
        read(path, 500, LEADS[::-1])
    assert read(path, 500, ",".join(LEADS)).leads == LEADS


def test_the_page_names_every_format():
    page = (Path(__file__).resolve().parents[3] / "docs" / "formats.md").read_text()
    for form in FORMATS:
        assert all(f"`{suffix}`" in page for suffix in form.suffixes), form.name


def test_all_in_one_directory_are_predicted(tmp_path):
    from fakes import FakeModel

    for i, (name, write, _) in enumerate(MAKERS.values()):
        write(tmp_path / f"{i}{name}")
    assert sorted(p.name for p in tmp_path.iterdir() if is_recording(str(p))) == sorted(
        f"{i}{name}" for i, (name, _, _) in enumerate(MAKERS.values())
    )
    found = predict(FakeModel(), tmp_path)
    assert len(found.records) == len(MAKERS) and len(found.errors) == 0
    units = found.records["Sinus rhythm"]  # the same counts in other units give the same segments
    np.testing.assert_allclose(units[:-1], units[0], atol=1e-5)


# ---- WFDB -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit, factor", [("mV", 1), ("uV", 1e-3), ("V", 1e3), ("nV", 1e-6)])
def test_wfdb_units(tmp_path, unit, factor):
    check(read(write_wfdb(tmp_path / "r.hea", X, unit=unit, rate=257)), X, factor / 200, rate=257)


@pytest.mark.parametrize("form", ["16", "24", "32", "80", "212"])
def test_wfdb_storage_formats_by_the_librarys_writer(tmp_path, form):
    import wfdb

    x = np.clip(X // 8, -120, 120) if form == "80" else X
    names, n = list(LEADS), len(X)
    wfdb.wrsamp(
        "r",
        fs=500,
        units=["mV"] * n,
        sig_name=names,
        d_signal=x.T.astype(np.int64),
        fmt=[form] * n,
        adc_gain=[100.0] * n,
        baseline=[0] * n,
        write_dir=str(tmp_path),
    )
    check(read(tmp_path / "r.hea"), x, 0.01)


def test_wfdb_15_leads_give_their_12(tmp_path):
    names = ["v6", "V5", "VX", "i", "AVR", "avl", "ii", "iii", "vy", "aVF", "V1", "v2", "V3", "V4", "vz"]
    x = counts(15)
    record = read(write_wfdb(tmp_path / "r.hea", x, names))
    assert len(record.leads) == 15 and {"VX", "VY", "VZ"} < set(record.leads) and record.derived == ()
    rows = [[name.lower() for name in names].index(lead.lower()) for lead in LEADS]
    np.testing.assert_allclose(prepare(record).x, prepare(x[rows], 500).x, atol=1e-5)


def test_wfdb_signals_that_are_no_voltage(tmp_path):
    path = write_wfdb(tmp_path / "r.hea", counts(13), [*LEADS, "RESP"])
    text = path.read_text()
    path.write_text(text.replace("/mV 16 0 " + text.split("/mV 16 0 ")[-1], "/Ohm 16 0 0 0 0 RESP\n"))
    record = read(path)
    assert record.leads == LEADS and record.notes == ("signals not read: RESP (Ohm)",)
    path = write_wfdb(tmp_path / "q.hea", X, unit="mmHg")
    with pytest.raises(SignalError, match="the unit 'mmHg' is no voltage") as caught:
        read(path)
    assert caught.value.field == "lead I"
    path = write_wfdb(tmp_path / "s.hea", X[:2], ["ABP", "RESP"], unit="mmHg")
    with pytest.raises(LeadError, match="none of the signals is a voltage: ABP, RESP"):
        read(path)


def test_wfdb_invalid_samples_are_named(tmp_path):
    x = X.copy()
    x[7, 1234] = -32768  # "no sample" in format 16
    record = read(write_wfdb(tmp_path / "r.hea", x))
    assert np.isnan(record.signal[7, 1234]) and np.isnan(record.signal).sum() == 1
    with pytest.raises(SignalError, match=r"nan at sample 1234 \(2.468 s\)") as caught:
        prepare(record)
    assert caught.value.field == "lead V2" and caught.value.path == str(tmp_path / "r.hea")


def test_wfdb_of_several_segments(tmp_path):
    write_wfdb(tmp_path / "r_0001.hea", X[:, :1000])
    write_wfdb(tmp_path / "r_0002.hea", X[:, 1000:])
    (tmp_path / "r.hea").write_text("r/2 12 500 3000\nr_0001 1000\nr_0002 2000\n")
    check(read(tmp_path / "r.hea"), X, 1 / 200)
    assert [p.name for p in sorted(tmp_path.iterdir()) if is_recording(str(p))] == ["r.hea"]
    check(read(tmp_path / "r_0001.hea"), X[:, :1000], 1 / 200)  # named, it is read


@pytest.mark.parametrize("block", [60, 700, 2999])
def test_wfdb_in_blocks(tmp_path, monkeypatch, block):
    """Long records are read block by block; of several segments too, with a gap that is NaN."""
    monkeypatch.setattr(sys.modules["ecgfm.io.wfdb"], "_BLOCK", block)
    check(read(write_wfdb(tmp_path / "q.hea", X, unit="uV")), X, 1e-3 / 200)
    write_wfdb(tmp_path / "r_1.hea", X[:, :1000])
    write_wfdb(tmp_path / "r_2.hea", X[:, 1000:2900])
    (tmp_path / "r.hea").write_text("r/4 12 500 3000\nr_layout 0\nr_1 1000\n~ 100\nr_2 1900\n")
    layout = "".join(f"~ 0 200(0)/mV 16 0 0 0 0 {name}\n" for name in LEADS)
    (tmp_path / "r_layout.hea").write_text(f"r_layout 12 500 0\n{layout}")
    record = read(tmp_path / "r.hea")
    assert np.isnan(record.signal[:, 1000:1100]).all()
    kept = np.r_[0:1000, 1100:3000]
    np.testing.assert_allclose(record.signal[:, kept], X[:, :2900] / 200, rtol=1e-6)
    write_wfdb(tmp_path / "s.hea", X, samples="")
    check(read(tmp_path / "s.hea"), X, 1 / 200)  # the length is that of the file


def test_wfdb_side_files_are_no_records(tmp_path):
    path = write_wfdb(tmp_path / "r.hea", X)
    header = path.read_text()
    (tmp_path / "r.dat").rename(tmp_path / "r.mat")  # as the challenges of 2020 and 2021 have it
    path.write_text(header.replace("r.dat", "r.mat"))
    (tmp_path / "r.atr").write_bytes(b"\0" * 8)
    check(read(path), X, 1 / 200)
    assert [p.name for p in sorted(tmp_path.iterdir()) if is_recording(str(p))] == ["r.hea"]
    with pytest.raises(FormatError, match=r"a signal file of a WFDB record. Name its header, .*r\.hea"):
        read(tmp_path / "r.mat")
    assert is_recording(str(tmp_path / "r.hea"))


def test_wfdb_header_by_another_name(tmp_path):
    path = write_wfdb(tmp_path / "r.hea", X).rename(tmp_path / "r.txt")
    with pytest.raises(FormatError, match="Name it <record>.hea"):
        read(path)


# ---- DICOM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["code", "meaning", "label"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_dicom_names_and_byte_orders(tmp_path, by, syntax):
    check(read(write_dicom(tmp_path / "a.dcm", dicom_group(X, by=by), syntax=syntax)), X, 5e-3)


@pytest.mark.parametrize("unit, factor", [("mV", 1), ("uV", 1e-3), ("V", 1e3)])
def test_dicom_units_and_baseline(tmp_path, unit, factor):
    record = read(write_dicom(tmp_path / "a.dcm", dicom_group(X, unit=unit, sensitivity="2.5", baseline="10")))
    np.testing.assert_allclose(record.signal, (X * 2.5 + 10) * factor, rtol=1e-6, atol=1e-9)


def test_dicom_group_with_most_leads(tmp_path):
    few = dicom_group(X[:2], LEADS[:2], rate=250)
    median = dicom_group(X // 2)
    median.WaveformOriginality = "DERIVED"
    record = read(write_dicom(tmp_path / "a.dcm", few, median, dicom_group(X)))
    check(record, X, 5e-3)
    assert record.notes == ("read: waveform group 3 of 3",)


def test_dicom_padding_becomes_nan(tmp_path):
    x = X.copy()
    x[3, 17] = -32768
    group = dicom_group(x)
    group.add_new(0x5400100A, "OW", np.array([-32768], "<i2").tobytes())
    record = read(write_dicom(tmp_path / "a.dcm", group))
    assert np.isnan(record.signal[3, 17]) and np.isnan(record.signal).sum() == 1


def test_wrong_dicom(tmp_path):
    path = tmp_path / "a.dcm"
    with pytest.raises(FormatError, match=r"holds no waveforms \(ECG\)"):
        read(write_dicom(path))
    for unit in (None, "mm[Hg]"):
        with pytest.raises(SignalError, match="no voltage") as caught:
            read(write_dicom(path, dicom_group(X, unit=unit)))
        assert caught.value.field == "lead I" and caught.value.path == str(path)
    with pytest.raises(LeadError, match="no channel is one of the 12 leads: Resp"):
        read(write_dicom(path, dicom_group(X[:1], ["Resp"], by="label")))


# ---- MUSE -----------------------------------------------------------------------------------------------------------


def test_muse_eight_leads_give_twelve(tmp_path):
    x = counts(8)
    record = read(write_muse(tmp_path / "a.xml", x))
    check(record, x, 4.88e-3, EIGHT)
    assert record.leads == LEADS and record.derived == ("III", "aVR", "aVL", "aVF")
    one, two = x[:2].astype(np.float64) * 4.88e-3
    exact = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    for name, lead in exact.items():
        np.testing.assert_allclose(record.signal[LEADS.index(name)], lead, rtol=1e-6, atol=1e-7)
    assert prepare(record).provenance["derived_leads"] == ["III", "aVR", "aVL", "aVF"]


@pytest.mark.parametrize("unit, factor", [("MICROVOLTS", 1e-3), ("MILLIVOLTS", 1), ("microvolts", 1e-3)])
def test_muse_units(tmp_path, unit, factor):
    check(read(write_muse(tmp_path / "a.xml", X, LEADS, unit=unit, units_per_bit=2.5)), X, 2.5 * factor)


def test_muse_doctype_and_umlauts(tmp_path):
    head = '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n'
    path = write_muse(tmp_path / "a.xml", X, LEADS, head=head, extra="<PatientDemographics><PatientLastName>M\u00fc"
                      "ller</PatientLastName></PatientDemographics>")  # fmt: skip
    check(read(path), X, 4.88e-3)


def test_muse_ampersands_that_are_no_xml(tmp_path):
    extra = "<Diagnosis><StmtText>ST & T wave, R&amp;S, &#181;V</StmtText></Diagnosis>"
    path = write_muse(tmp_path / "a.xml", X, LEADS, extra=extra)
    before = path.read_bytes()
    record = read(path)
    check(record, X, 4.88e-3)
    assert record.source == str(path) and path.read_bytes() == before


def test_muse_in_utf16(tmp_path):
    path = write_muse(tmp_path / "a.xml", X, LEADS, extra="<X>R&amp;S</X>")
    path.write_text(path.read_text().replace("ISO-8859-1", "UTF-16"), encoding="utf-16")
    check(read(path), X, 4.88e-3)


def test_muse_wrong_units_and_checksums(tmp_path):
    path = write_muse(tmp_path / "a.xml", X, LEADS, unit="APPLES")
    with pytest.raises(SignalError, match="in the unit 'APPLES' is no voltage") as caught:
        read(path)
    assert caught.value.field == "lead I" and caught.value.path == str(path)
    path = write_muse(tmp_path / "a.xml", X, LEADS)
    path.write_text(path.read_text().replace("<LeadDataCRC32>", "<LeadDataCRC32>1", 13))
    assert any("CRC32 mismatch" in note for note in read(path).notes)
    with pytest.raises(LeadError, match="none of the 12 leads is there"):
        read(write_muse(path, X[:1], ["V9"]))


# ---- HL7 aECG -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step, unit, rate", [("0.002", "s", 500), ("2", "ms", 500), ("0.00390625", "s", 256)])
def test_aecg_rates(tmp_path, step, unit, rate):
    check(read(write_aecg(tmp_path / "a.xml", X, step=step, step_unit=unit)), X, 5e-3, rate=rate)


def test_aecg_rates_are_not_rounded(tmp_path):
    record = read(write_aecg(tmp_path / "a.xml", X, step="0.0039"))
    assert record.sampling_rate == pytest.approx(1 / 0.0039, rel=1e-12)
    assert record.notes == ()  # the library rounds its own


@pytest.mark.parametrize("unit, factor", [("uV", 1e-3), ("mV", 1.0), ("V", 1e3), ("nV", 1e-6)])
def test_aecg_units_and_origin(tmp_path, unit, factor):
    record = read(write_aecg(tmp_path / "a.xml", X, unit=unit, scale="2.5", origin="4"))
    np.testing.assert_allclose(record.signal, (X * 2.5 + 4) * factor, rtol=1e-6, atol=1e-9)


def test_aecg_eight_leads_and_wrong_ones(tmp_path):
    path = tmp_path / "a.xml"
    assert read(write_aecg(path, counts(8), EIGHT)).derived == ("III", "aVR", "aVL", "aVF")
    with pytest.raises(SignalError, match="no voltage") as caught:
        read(write_aecg(path, X, unit="kg"))
    assert caught.value.field == "lead I"
    with pytest.raises(FormatError, match="time increment|damaged"):
        read(write_aecg(path, X, step_unit="parsec"))
    with pytest.raises(SignalError, match="sampling rate"):
        read(write_aecg(path, X, step="0.0000001"))


# ---- SCP-ECG --------------------------------------------------------------------------------------------------------


def test_scp_rates_units_and_derived_leads(tmp_path):
    path = tmp_path / "a.scp"
    check(read(write_scp(path, X, nanovolts=1250, interval_us=4000)), X, 1.25e-3, rate=250)
    record = read(write_scp(path, counts(8), EIGHT, interval_us=3003))
    assert record.derived == ("III", "aVR", "aVL", "aVF") and record.leads == LEADS
    assert record.sampling_rate == pytest.approx(1e6 / 3003)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    assert any("CRC" in note for note in read(path).notes)


def scp_pointer(path, number, length=None, start=None):
    """Change what section 0 says of a section."""
    raw = bytearray(path.read_bytes())
    at = 22 + 10 * number
    assert struct.unpack_from("<H", raw, at)[0] == number
    old = struct.unpack_from("<II", raw, at + 2)
    struct.pack_into("<II", raw, at + 2, old[0] if length is None else length, old[1] if start is None else start)
    path.write_bytes(raw)


def test_scp_sections_that_the_rhythm_does_not_take(tmp_path):
    """What a device wrote of the patient, or an anonymiser over it, does not keep the samples from being read."""
    for number in (1, 7, 11):
        path = write_scp(tmp_path / "a.scp", X)
        scp_pointer(path, number, 17, 60)
        check(read(path), X, 5e-3)
        assert read(path).notes == ("the record's checksum (CRC) does not fit",)
    for number, length, start in ((6, 2**31 - 1, None), (6, None, 2**31), (3, 200, 10**9)):
        path = write_scp(tmp_path / "a.scp", X)
        scp_pointer(path, number, length, start)
        with pytest.raises(FormatError, match=f"section {number}: truncated"):
            read(path)


def test_scp_that_counts_from_zero(tmp_path):
    path = write_scp(tmp_path / "a.scp", X, ranges=[(0, 3000)] * 12)
    record = read(path)
    check(record, X, 5e-3)
    assert record.notes == ()


def test_scp_leads_of_different_times(tmp_path):
    ranges = [(1, 3000)] * 6 + [(3001, 6000)] * 6
    with pytest.raises(FormatError, match="leads of different times"):
        read(write_scp(tmp_path / "a.scp", X, ranges=ranges))


# ---- EDF ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit, factor", [("uV", 1e-3), ("mV", 1.0), ("V", 1e3)])
@pytest.mark.parametrize("bdf", [False, True])
def test_edf_units(tmp_path, unit, factor, bdf):
    check(read(write_edf(tmp_path / "a.edf", X, unit=unit, bdf=bdf, step=1)), X, factor)


def test_edf_names_and_other_signals(tmp_path):
    names = [f"{'ECG' if i % 2 else 'EKG'} {name}" for i, name in enumerate(LEADS)]
    others = [("EEG Fp1", "uV", 100), ("SaO2", "%", 1), ("EDF Annotations", "", 30)]
    record = read(write_edf(tmp_path / "a.edf", X, names, others=others, reserved="EDF+C"))
    check(record, X, 5e-3)
    assert record.leads == LEADS and record.notes[0].startswith("signals not read: EEG Fp1, SaO2")


def test_edf_by_the_librarys_writer(tmp_path):
    import edfio

    signals = [
        edfio.EdfSignal(row * 0.005, 500, label=name, physical_dimension="mV", physical_range=(-10, 10))
        for name, row in zip(LEADS, X)
    ]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    record = read(tmp_path / "a.edf")
    np.testing.assert_allclose(record.signal, X * 0.005, atol=20 / 65535)
    assert record.leads == LEADS


def test_wrong_edf(tmp_path):
    path = tmp_path / "a.edf"
    with pytest.raises(LeadError, match="no signal is an ECG lead: EEG Fp1, SaO2"):
        read(write_edf(path, X[:2], ["EEG Fp1", "SaO2"]))
    with pytest.raises(SignalError, match="the unit 'mmHg' is no voltage") as caught:
        read(write_edf(path, X, unit="mmHg"))
    assert caught.value.field == "lead I"
    with pytest.raises(SignalError, match="leads of several rates, 100 to 500 Hz"):
        read(write_edf(path, X[:3], LEADS[:3], others=[("V6", "uV", 100)]))
    with pytest.raises(SignalError, match="gaps"):
        read(write_edf(path, X, reserved="EDF+D"))


# ---- CODE-15's HDF5 -------------------------------------------------------------------------------------------------


def exams(*starts):
    x = np.zeros((len(starts), 3000, 12), dtype=np.float32)
    for each, start in zip(x, starts):
        each[start : 3000 - start] = X.T[start : 3000 - start] * np.float32(0.01) + 10
    return x


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 3000, 12), "compression": "gzip"}])
def test_hdf5_members(tmp_path, options):
    x = exams(0, 250, 0)
    x[2] = 0
    path = write_code15(tmp_path / "exams_part0.hdf5", x, [1169160, 22, 0], **options)
    assert list(members(path)) == [f"{path}::1169160", f"{path}::22"]
    record = read(f"{path}::22")
    np.testing.assert_array_equal(record.signal, x[1, 250:2750].T)
    assert record.sampling_rate == 400 and record.leads == LEADS and record.source == f"{path}::22"
    assert record.notes == (
        "sampling rate assumed: 400 Hz, as CODE-15% has",
        "500 samples of padding cut off",
        "unit assumed: mV",
    )
    with pytest.raises(SignalError, match="holds 2 recordings. Name one, such as .*::1169160"):
        read(path)
    for wrong in ("23", "0", "x", "-1", "9" * 30):
        with pytest.raises(SignalError, match=f"0 recordings are called '{wrong}'|recordings are called '0'"):
            read(f"{path}::{wrong}")


def test_hdf5_is_predicted_exam_by_exam(tmp_path):
    from fakes import FakeModel

    path = write_code15(tmp_path / "exams.hdf5", exams(0, 100), [5, 6])
    for given in (path, tmp_path):
        found = predict(FakeModel(), given)
        assert found.records.files == [f"{path}::5", f"{path}::6"]
    assert predict(FakeModel(), f"{path}::6").records.files == [f"{path}::6"]
    write_code15(path, exams(0), [5])
    assert predict(FakeModel(), path).records.files == [str(path)]


def test_hdf5_without_numbers(tmp_path):
    import h5py

    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["tracings"] = exams(0, 0)
    assert list(members(path)) == [f"{path}::1", f"{path}::2"]
    np.testing.assert_array_equal(read(f"{path}::2", 500).signal, exams(0)[0].T)


def test_members_of_other_files(tmp_path):
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(FormatError, match="one recording. Leave out ::5"):
        read(f"{tmp_path / 'a.npy'}::5", 500)
    with pytest.raises(FormatError, match="no such file"):
        read(f"{tmp_path / 'b.npy'}::5", 500)
    np.save(tmp_path / "c::5", X)
    (tmp_path / "c::5.npy").rename(tmp_path / "c::5")
    assert read(tmp_path / "c::5", 500).samples == 3000


def test_names_of_files_that_are_no_text(tmp_path):
    path = write_wfdb(tmp_path / "r.hea", X)
    assert read(bytes(path)).samples == 3000
    assert ecgfm.read(str(path)).leads == readers.read(path).leads

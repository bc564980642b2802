"""Recordings as devices store them: right numbers, and a true word where something is left out."""

import base64
import json
import struct

import numpy as np
import pytest
from device_files import (
    atc_block,
    fhir_observation,
    kardia,
    mfer,
    with_pulse,
    write_atc,
    write_cardiosoft,
    write_fhir,
    write_ishne,
    write_kardia,
    write_mfer,
    write_mortara,
    write_philips,
    write_schiller,
    xli,
)
from made_files import EIGHT, LEADS, counts

from ecgfm import FormatError, LeadError, SignalError, prepare, read
from ecgfm.io import find_format, is_recording

X = counts(12, 1500)
ONE = X[:1]


def check(record, x, step, rate=500, leads=LEADS):
    assert record.leads == leads and record.sampling_rate == rate
    np.testing.assert_allclose(record.signal, x * step, rtol=1e-6, atol=1e-7)
    assert all(unit is not None for unit in record.units)


MAKERS = {
    "Philips XML": (".xml", lambda path: write_philips(path, with_pulse(X)), 5e-3),
    "Schiller XML": (".xml", lambda path: write_schiller(path, X), 1e-3),
    "GE CardioSoft XML": (".xml", lambda path: write_cardiosoft(path, X), 5e-3),
    "Mortara XML": (".xml", lambda path: write_mortara(path, X, rate=500), 5e-3),
    "ISHNE": (".ecg", lambda path: write_ishne(path, X), 5e-3),
    "MFER": (".mwf", lambda path: write_mfer(path, X), 5e-3),
    "FHIR Observation": (".json", lambda path: write_fhir(path, X), 5e-3),
}


@pytest.mark.parametrize("name", MAKERS)
def test_numbers_and_names(tmp_path, name):
    ending, write, step = MAKERS[name]
    path = write(tmp_path / f"a{ending}")
    assert find_format(path).name == name and is_recording(str(path))
    check(read(path), X, step)
    assert not [note for note in read(path).notes if "calibration" not in note]
    other = tmp_path / "a.dcm"  # the content decides, whatever the name says
    other.write_bytes(path.read_bytes())
    check(read(other), X, step)


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_cut_names_its_format(tmp_path, name):
    ending, write, _ = MAKERS[name]
    path = write(tmp_path / f"a{ending}")
    whole = path.read_bytes()
    if name == "MFER":
        whole = whole[:-1]  # a mark of the end that is not needed
    for part in (0.3, 0.6, 0.9, 1 - 2 / len(whole)):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(FormatError) as caught:
            read(path)
        assert name in str(caught.value) or name == "FHIR Observation", str(caught.value)
        assert caught.value.path == str(path) and len(str(caught.value)) < 500


# ---- Philips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("version, kind", [("1.03", "SierraECG"), ("1.04", "PhilipsECG"), ("1.04.01", "PhilipsECG")])
def test_philips_versions_and_encodings(tmp_path, version, kind, encoding):
    path = write_philips(tmp_path / "a.xml", with_pulse(X), version=version, kind=kind, encoding=encoding)
    record = read(path)
    check(record, X, 5e-3)
    assert record.notes == ("the calibration pulse is cut off: what comes after 3 s",)


def test_philips_says_another_encoding_than_it_has(tmp_path):
    path = write_philips(tmp_path / "a.xml", with_pulse(X))
    path.write_text(path.read_text().replace("UTF-8", "UTF-16"))
    check(read(path), X, 5e-3)


def test_philips_without_a_pulse(tmp_path):
    check(read(write_philips(tmp_path / "a.xml", X)), X, 5e-3)
    assert read(tmp_path / "a.xml").notes == ()
    flat = np.zeros((12, 2500), np.int64)
    assert read(write_philips(tmp_path / "a.xml", flat)).samples == 2500
    record = read(write_philips(tmp_path / "a.xml", with_pulse(flat)))
    assert record.samples == 2500 and not record.signal.any()


def test_philips_leads_without_names(tmp_path):
    """Some files allocate more channels than they have leads."""
    path = write_philips(tmp_path / "a.xml", X, version="1.03", kind="SierraECG")
    whole = path.read_text()
    path.write_text(whole.replace("allocated>12<", "allocated>16<"))
    check(read(path), X, 5e-3)
    path.write_text(whole.replace("STD-12", "ELSE"))
    assert read(path).notes == ("leads assumed in the order I II III aVR aVL aVF V1-V6",)
    path.write_text(whole.replace("STD-12", "ELSE").replace("allocated>12<", "allocated>16<"))
    with pytest.raises(LeadError, match="16 leads that are not named"):
        read(path)


def test_philips_of_another_maker(tmp_path):
    record = read(write_philips(tmp_path / "a.xml", X, version="1.03", kind="MortaraECG"))
    check(record, X, 5e-3)
    assert record.notes == ("the document says that it is 'MortaraECG' '1.03'; read as Philips XML of 1.03 or 1.04",)


def test_philips_plain_and_more_blocks_than_leads(tmp_path):
    more = base64.b64encode(xli(X) + b"\x09\0\0\0\0\0\0\0\xff").decode()  # what is not declared is not looked at
    check(read(write_philips(tmp_path / "a.xml", X, data=more)), X, 5e-3)
    raw = base64.b64encode(X.astype("<i2").tobytes()).decode()
    check(read(write_philips(tmp_path / "a.xml", X, data=raw, compression=None)), X, 5e-3)
    text = " ".join(map(str, X.ravel().tolist()))
    path = write_philips(tmp_path / "a.xml", X, data="", compression=None, dataencoding="Plain")
    path.write_text(path.read_text().replace("></parsedwaveforms>", f">{text}</parsedwaveforms>"))
    check(read(path), X, 5e-3)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"step": "0"}, "resolution"),
        ({"step": "five"}, "'five' is no number"),
        ({"rate": 0, "duration": 3000}, "samplingrate"),
        ({"duration": 10**15}, "2,097,152 are read"),
        ({"duration": 4000}, "truncated: 2,000 samples are stated, 1,500"),
        ({"compression": "ZIP"}, "packed as 'ZIP'"),
        ({"dataencoding": "Hex"}, "'Hex'"),
        ({"numberofleads": 13}, "'13' leads, of which 12 are named"),
        ({"numberofleads": "-1"}, "numberofleads"),
        ({"leadlabels": "II I III aVR aVL aVF V1 V2 V3 V4 V5 V6"}, "order that is not known"),
        ({"data": "AAAA"}, "truncated"),
        ({"data": "no base 64!"}, "damaged"),
        ({"bitspersample": 12}, "'12' bits"),
    ],
)
def test_philips_that_lies(tmp_path, options, words):
    with pytest.raises(FormatError, match=words):
        read(write_philips(tmp_path / "a.xml", X, **options))


def test_codes_that_mean_nothing(tmp_path):
    data = base64.b64encode(struct.pack("<iHh", 5, 0, 0) + b"\xff\x80\0\0\0").decode()
    with pytest.raises(FormatError, match="the code 1022 means nothing"):
        read(write_philips(tmp_path / "a.xml", X, data=data))


# ---- Schiller, CardioSoft -------------------------------------------------------------------------------------------


def test_units_and_derived_leads(tmp_path):
    eight = counts(8, 1000)
    record = read(write_schiller(tmp_path / "a.xml", eight, EIGHT, 250, step="0.5", unit="MV"))
    assert record.leads == LEADS and record.derived == ("III", "aVR", "aVL", "aVF") and record.sampling_rate == 250
    np.testing.assert_allclose(record.signal[0], eight[0] * 0.5)
    record = read(write_cardiosoft(tmp_path / "a.xml", eight, EIGHT, 1000, step="4.88"))
    np.testing.assert_allclose(record.signal[-1], eight[-1] * 4.88e-3, rtol=1e-6)
    assert record.leads == LEADS and record.sampling_rate == 1000
    record = read(write_cardiosoft(tmp_path / "a.xml", eight, EIGHT, step="2", unit="nVperLsb"))
    np.testing.assert_allclose(record.signal[-1], eight[-1] * 2e-6, rtol=1e-6)
    assert set(record.units) == {"nV"}


@pytest.mark.parametrize(
    "write, old, new, words",
    [
        (write_schiller, "ECG_RHYTHMS", "ECG_OTHER", "no rhythm, but ECG_AVERAGES, ECG_OTHER"),
        (write_schiller, "<units>UV</units>", "<units>mmHg</units>", "'mmHg' is no voltage"),
        (write_schiller, "<exponent>1<", "<exponent>3<", "exponent '3'"),
        (write_schiller, "COMMASEPARATE", "BASE64", "'BASE64'"),
        (write_schiller, "<samplecount>1500<", "<samplecount>1501<", "truncated: 1,501 samples"),
        (write_schiller, "<samplecount>1500<", "<samplecount>99999999999<", "99,999,999,999 samples of 12 leads"),
        (write_schiller, "<samplecount>1500<", "<samplecount>nan<", "samplecount"),
        (write_schiller, "<name>AVR<", "<name>I<", "named more than once: I"),
        (write_cardiosoft, "StripData", "OtherData", "no rhythm strip, but MedianSamples"),
        (write_cardiosoft, 'units="uVperLsb"', 'units="lsb"', "'lsb' is not known"),
        (write_cardiosoft, 'units="Hz"', 'units="ms"', "'ms' is not known"),
        (write_cardiosoft, ">12</NumberOfLeads>", ">15</NumberOfLeads>", "'15' leads are stated, 12 are there"),
        (write_cardiosoft, ">500</SampleRate>", ">-1</SampleRate>", "SampleRate"),
        (write_cardiosoft, "</WaveformData>", ",x</WaveformData>", "1,500 samples are stated, 1,501|no numbers"),
    ],
)
def test_xml_that_lies(tmp_path, write, old, new, words):
    path = write(tmp_path / "a.xml", X)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises((FormatError, SignalError), match=words):
        read(path)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"per_mv": 0}, "UNITS_PER_MV"),
        ({"offset": 5}, "OFFSET other than 0"),
        ({"rate": "x"}, "SAMPLE_FREQ"),
        ({"encoding": "HEX"}, "'HEX' is not read"),
        ({"duration": 1501}, "truncated: 1501 samples are stated, 1,500"),
        ({"duration": 10**30}, "truncated"),
        ({"leads": ["I"] * 12}, "named more than once"),
    ],
)
def test_mortara_that_lies(tmp_path, options, words):
    with pytest.raises((FormatError, SignalError), match=words):
        read(write_mortara(tmp_path / "a.xml", X, **options))


def test_mortara_as_another_reader_has_it(tmp_path):
    pytest.importorskip("ecgdatakit", reason="needs the extra [io]")
    from ecgdatakit.parsing.parsers.mortara_el250 import MortaraEL250Parser

    path = write_mortara(tmp_path / "a.xml", X, per_mv=400, duration=1500)
    found = MortaraEL250Parser().parse(path)
    record = read(path)
    assert [lead.label for lead in found.leads] == list(record.leads) and found.leads[0].sampling_rate == 1000
    for lead, row in zip(found.leads, record.signal):
        np.testing.assert_allclose(row, lead.samples * lead.resolution / 1000, rtol=1e-6)


def test_samples_that_are_no_numbers(tmp_path):
    for text in ("1_0", "nan", "0x10", "1e", "--1", "\u0661"):
        path = write_schiller(tmp_path / "a.xml", X)
        path.write_text(path.read_text().replace(f"<data>{X[3, 0]},", f"<data>{text},"))
        with pytest.raises(FormatError, match="no numbers"):
            read(path)


# ---- ISHNE ----------------------------------------------------------------------------------------------------------


def test_ishne_leads_and_lengths(tmp_path):
    path = tmp_path / "a.ecg"
    record = read(write_ishne(path, X[:3], [6, 11, 1], extra=b"a word of the maker"))
    assert record.leads == ("II", "V1", "lead 3") and len(record.notes) == 1
    assert record.notes[0] == f"leads that the file lacks: {', '.join(n for n in LEADS if n not in ('II', 'V1'))}"
    record = read(write_ishne(path, X, samples=1400))
    check(record, X[:, :1400], 5e-3)
    assert record.notes == ("the header says 1,400 samples a lead, the file has 1,500: the first are read",)
    check(read(write_ishne(path, X, samples=12 * 1500)), X, 5e-3)  # as some count them
    path.write_bytes(path.read_bytes()[:40] + b"name" + path.read_bytes()[44:])
    assert "checksum" in read(path).notes[0]


def test_ishne_leads_that_are_not_named(tmp_path):
    path = write_ishne(tmp_path / "a.ecg", X[:3], [2, 3, 4])
    assert read(path).leads == ("X", "Y", "Z")
    path = write_ishne(tmp_path / "a.ecg", X[:3], [1, 1, 0])
    with pytest.raises(LeadError, match="lead 1, lead 2, lead 3. If you know what they are, name them"):
        read(path)
    record = read(path, leads=["II", "V1", "V5"])
    assert record.leads == ("II", "V1", "V5") and "lead 1" in record.notes[0]
    np.testing.assert_allclose(record.signal, X[:3] * 5e-3, rtol=1e-6)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"samples": 1501}, "truncated: 1,501 samples of 12 leads"),
        ({"samples": -1}, "truncated"),
        ({"samples": 2**31 - 1}, "truncated: 2,147,483,647 samples"),
        ({"step": 0}, "0 nV is no voltage"),
        ({"step": -9}, "-9 nV is no voltage"),
        ({"rate": -9}, "sampling rate"),
        ({"codes": [5] * 12}, "named more than once: I"),
        ({"codes": [0] * 12}, "none of the 12 leads"),
    ],
)
def test_ishne_that_lies(tmp_path, options, words):
    with pytest.raises((FormatError, SignalError), match=words):
        read(write_ishne(tmp_path / "a.ecg", X, **options))


# ---- ATC ------------------------------------------------------------------------------------------------------------


def test_one_lead_and_six(tmp_path):
    path = write_atc(tmp_path / "a.atc", ONE)
    record = read(path)
    check(record, ONE, 5e-4, 300, ("I",))
    assert record.notes == (f"leads that the file lacks: {', '.join(LEADS[1:])}",)
    with pytest.raises(LeadError, match="II.*V6"):
        prepare(record)
    record = read(write_atc(path, X[:6]))
    check(record, X[:6], 5e-4, 300, LEADS[:6])
    assert record.notes == (f"leads that the file lacks: {', '.join(LEADS[6:])}",)


def test_a_checksum_that_does_not_fit(tmp_path):
    path = write_atc(tmp_path / "a.atc", ONE)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"ecg ") + 20] ^= 1
    path.write_bytes(raw)
    assert read(path).notes[0] == "blocks whose checksums do not fit: ecg"


@pytest.mark.parametrize(
    "options, extra, words",
    [
        ({"kind": 2}, b"", "kind 2"),
        ({"step": 0}, b"", "0 nV is no voltage"),
        ({"rate": 0}, b"", "sampling rate"),
        ({}, b"ecg2\xff\xff\xff\x7f", "truncated: it has 2,147,483,647 bytes"),
        ({}, b"ec", "truncated in the head of block 4"),
        ({}, atc_block("ecg ", b"\0\0"), "'ecg'.*twice"),
        ({}, atc_block("ecg2", b"\0\0\0"), "3 bytes are no samples"),
        ({}, atc_block("ecg2", b"\0\0"), "different times or lengths: 1, 1500"),
    ],
)
def test_atc_that_lies(tmp_path, options, extra, words):
    with pytest.raises((FormatError, SignalError), match=words):
        read(write_atc(tmp_path / "a.atc", ONE, extra=extra, **options))


def test_atc_without_an_ecg(tmp_path):
    with pytest.raises(FormatError, match=r"holds no ECG \(AliveCor ATC\)"):
        read(write_atc(tmp_path / "a.atc", X[:0]))
    for cut in (12, 60, 300, 310, 400):
        write_atc(tmp_path / "a.atc", ONE)
        (tmp_path / "a.atc").write_bytes((tmp_path / "a.atc").read_bytes()[:cut])
        with pytest.raises(FormatError, match="truncated.*AliveCor ATC"):
            read(tmp_path / "a.atc")


# ---- Kardia's JSON --------------------------------------------------------------------------------------------------


def test_kardia_as_another_reader_has_it(tmp_path):
    path = write_kardia(tmp_path / "a.json", X[:6], step=250)
    record = read(path)
    check(record, X[:6], 2.5e-4, 300, LEADS[:6])
    assert find_format(path).name == "AliveCor Kardia JSON" and is_recording(str(path))
    late = {"data": kardia(X[:6], step=250)["data"] | {"more": "x" * 9000}}  # keys beyond what is looked at
    path.write_text(json.dumps({"note": "x" * 9000} | late))
    check(read(path), X[:6], 2.5e-4, 300, LEADS[:6])
    pytest.importorskip("ecgdatakit", reason="needs the extra [io]")
    from ecgdatakit.parsing.parsers.alivecor_kardia import AliveCorKardiaParser

    for lead, row in zip(AliveCorKardiaParser().parse(write_kardia(path, X[:6], step=250)).leads, record.signal):
        np.testing.assert_allclose(row, lead.samples * lead.resolution / 1000, rtol=1e-6)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"step": None}, "amplitudeResolution: None is not a number above 0"),
        ({"step": -1}, "-1 is not a number above 0"),
        ({"rate": "300"}, "frequency: '300' is not"),
        ({"samples": [1, 2]}, "no samples of leads"),
        ({"samples": {}}, "holds no leads"),
        ({"samples": {"leadI": "AAAA"}}, "no list of numbers"),
        ({"samples": {"leadI": [1, None]}}, "no list of numbers"),
        ({"samples": {"leadI": [10**299] * 3000}}, "lead I.*inf"),
        ({"samples": {"leadI": [1, 2], "leadII": [1]}}, "different times or lengths"),
        ({"samples": {"leadI": [1, 2], "LEAD I": [1, 2]}}, "named more than once: I"),
    ],
)
def test_kardia_that_lies(tmp_path, options, words):
    with pytest.raises((FormatError, SignalError), match=words):
        prepare(read(write_kardia(tmp_path / "a.json", X[:6], **options)), missing_leads="zero")


def test_kardia_of_twelve_leads(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(kardia(ONE) | {"data12L": {}}))
    with pytest.raises(FormatError, match="data12L: 12 leads of Kardia"):
        read(tmp_path / "a.json")


# ---- MFER -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("block", [1, 30, 1500])
def test_mfer_orders_and_blocks(tmp_path, order, block):
    check(read(write_mfer(tmp_path / "a.mwf", X, order=order, block=block)), X, 5e-3)


def test_mfer_missing_samples_and_other_channels(tmp_path):
    x = X[:2].copy()
    x[:, 1400:] = -32768
    others = [(143, 1, X[5]), (1, 1, X[6])]  # a pressure, and one that has the code of a lead
    record = read(write_mfer(tmp_path / "a.mwf", x, others=others, null=-32768))
    assert record.leads[:2] == ("I", "II") and record.notes[0].startswith("channels not read: lead of code 143, I")
    assert np.isnan(record.signal[:, 1400:]).all() and not np.isnan(record.signal[:, :1400]).any()
    np.testing.assert_allclose(record.signal[1, :1400], x[1, :1400] * 5e-3, rtol=1e-6)
    with pytest.raises(LeadError, match="no channel is a voltage"):
        read(write_mfer(tmp_path / "a.mwf", x[:0].reshape(0, 1500), others=others))


def test_mfer_several_waveforms(tmp_path):
    path = write_mfer(tmp_path / "a.mwf", X, end=b"")
    whole = path.read_bytes()
    data = whole[whole.index(b"\x1e\x84") :]
    path.write_bytes(whole + b"\0\0" + data + b"\x80\0")
    check(read(path), np.concatenate([X, X], axis=1), 5e-3)
    beat = mfer(0x08, b"\x09\0") + mfer(0x04, struct.pack("<I", 100)) + mfer(0x1E, bytes(2400))
    path.write_bytes(whole + beat)
    check(read(path), X, 5e-3)
    assert read(path).notes == ("waveforms of another layout, not read: 1",)


@pytest.mark.parametrize(
    "tail, words",
    [
        (b"\x1e\x84\xff\xff\xff\xff", "truncated: a value of 4,294,967,295 bytes"),
        (b"\x1e\x88" + b"\xff" * 8, "without a length"),
        (mfer(0x05, b"\xff\xff\xff\xff"), "4,294,967,295 channels"),
        (mfer(0x0A, b"\x09") + mfer(0x05, b"\1") + mfer(0x1E, bytes(8)), "packed samples"),
        (mfer(0x0A, b"\x63") + mfer(0x05, b"\1") + mfer(0x1E, bytes(8)), "type 99"),
        (mfer(0x0E, b"\1\0"), "packed waveforms"),
        (mfer(0x04, b"\xff\xff\xff\xff") + mfer(0x05, b"\1") + mfer(0x1E, bytes(8)), "truncated: a sequence takes 8,5"),
        (mfer(0x04, b"\0\0") + mfer(0x05, b"\1") + mfer(0x1E, bytes(8)), "without samples"),
        (
            mfer(0x0B, b"\1\0\0") + mfer(0x04, b"\1") + mfer(0x05, b"\1") + mfer(0x1E, bytes(8)),
            "nothing states what a sample is worth",
        ),
        (b"\x3f\xff\xff\xff\xff\xff", "no end"),
        (b"\x67\x80" * 50, "levels"),
    ],
)
def test_mfer_that_lies(tmp_path, tail, words):
    path = write_mfer(tmp_path / "a.mwf", X, end=b"")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\x1e\x84")] + tail)
    with pytest.raises((FormatError, SignalError), match=words):
        read(path)


# ---- FHIR -----------------------------------------------------------------------------------------------------------


def test_fhir_scale_names_and_bundles(tmp_path):
    path = tmp_path / "a.json"
    x = X + 2048
    check(read(write_fhir(path, x, origin=-2048 * 2.5, factor=2.5, bundle=True)), X, 2.5e-3)
    check(read(write_fhir(path, X, unit="mV", factor=0.001)), X, 1e-3)
    found = fhir_observation(X)
    codes = (131329, 131330, 131389, 131390, 131391, 131392, *range(131331, 131337))
    for part, code in zip(found["component"], codes):
        part["code"] = {"coding": [{"code": str(code), "system": "urn:oid:2.16.840.1.113883.6.24"}]}
    path.write_text(json.dumps(found))
    check(read(path), X, 5e-3)
    for part in found["component"]:
        part["valueSampledData"].pop("period")
        part["valueSampledData"] |= {"interval": 500, "intervalUnit": "Hz"}
    path.write_text("\ufeff" + json.dumps(found))
    check(read(path), X, 5e-3)


def test_fhir_values_that_are_missing(tmp_path):
    path = write_fhir(tmp_path / "a.json", X)
    first = str(X[0, 0])
    path.write_text(path.read_text().replace(f'"data": "{first} ', '"data": "E '))
    record = read(path)
    assert np.isnan(record.signal[0, 0]) and np.isnan(record.signal).sum() == 1 and "not measured" in record.notes[0]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"unit": None}, "FHIR Observation whose origin has no unit.*Export"),
        ({"unit": "mmHg"}, "'mmHg' is no voltage"),
        ({"origin": "2048"}, "'2048' is no number"),
        ({"factor": 0}, "factor of 0"),
        ({"factor": True}, "True is no number"),
        ({"period": 0}, "gives no sampling rate"),
        ({"period": None}, "None is no number"),
        ({"period": 1e-300}, "sampling rate"),
        ({"dimensions": 3}, "3 dimensions"),
        ({"data": ""}, "no samples"),
        ({"data": "1 2 x"}, "no numbers"),
        ({"data": ["1"]}, "no samples"),
        ({"interval": 2, "intervalUnit": "min"}, "'min' is no time"),
    ],
)
def test_fhir_that_lies(tmp_path, options, words):
    with pytest.raises((FormatError, SignalError), match=words):
        read(write_fhir(tmp_path / "a.json", X[:2], **options))


def test_json_that_is_no_ecg(tmp_path):
    path = tmp_path / "a.json"
    for text, words in (
        ('{"resourceType": "Patient"}', "type 'Patient', not an Observation"),
        ('{"resourceType": "Observation", "valueQuantity": {"value": 3}}', "0 leads as SampledData"),
        ('{"resourceType": "Bundle", "entry": [{"resource": 3}, 4]}', "0 Observations"),
        ('{"a": 1}', "no FHIR resource"),
        ("[1, 2]", "no FHIR resource"),
        ('{"resourceType": "Observation", ', "not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=words):
            read(path)
    found = [{"resource": fhir_observation(ONE)}] * 2
    path.write_text(json.dumps({"resourceType": "Bundle", "entry": found}))
    with pytest.raises(FormatError, match="2 Observations.*file of its own"):
        read(path)
    path.write_text('{"model": "a", "records": []}')
    assert not is_recording(str(path))


# ---- what is named as a format that it is not -----------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".ecg", ".ishne", ".atc", ".dcm", ".dicom", ".mwf", ".mfr", ".scp"])
@pytest.mark.parametrize(
    "content", [bytes(5000), b"A text of somebody.\n" * 300, bytes(range(256)) * 20], ids=["zeros", "text", "bytes"]
)
def test_a_format_of_another_maker(tmp_path, ending, content):
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="what(ever)? its name says.*export DICOM") as caught:
        read(path)
    assert "truncated" not in str(caught.value)


def test_mfer_without_a_preamble(tmp_path):
    path = write_mfer(tmp_path / "a.mwf", X)
    path.write_bytes(path.read_bytes()[34:])
    check(read(path), X, 5e-3)

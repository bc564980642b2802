"""Writers of small recordings in the formats that are read, by hand where that takes a page, from integer counts.

Each takes a path, counts (leads, samples) of int16 range, and what the format needs; each returns the path.
"""

import base64
import binascii
import struct
import zlib

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def counts(leads=12, samples=3000, seed=0):
    """Integers that look a little like ECGs: a slow wave, noise and spikes."""
    rng = np.random.default_rng(seed)
    x = 200 * np.sin(np.arange(samples) / 90 + np.arange(leads)[:, None]) + rng.normal(0, 20, (leads, samples))
    x[:, 100::400] += 600
    return np.round(x).astype(np.int16)


# ---- WFDB -----------------------------------------------------------------------------------------------------------


def write_wfdb(path, x, leads=LEADS, rate=500, *, gain=200, unit="mV", form=16, samples=None, comments=()):
    """``path`` is that of the header; format 16, one signal file."""
    data = path.with_suffix(".dat")
    data.write_bytes(x.T.astype("<i2").tobytes())
    lines = [f"{path.stem} {len(x)} {rate} {x.shape[1] if samples is None else samples}"]
    lines += [f"{data.name} {form} {gain}(0)/{unit} 16 0 {row[0]} 0 0 {name}" for name, row in zip(leads, x)]
    path.write_text("\n".join([*lines, *(f"# {line}" for line in comments)]) + "\n")
    return path


# ---- GE MUSE XML ----------------------------------------------------------------------------------------------------


def muse_waveform(x, leads, rate, units_per_bit, unit, kind="Rhythm"):
    parts = [f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>{rate}</SampleBase>"]
    parts.append("<SampleExponent>0</SampleExponent>")
    for name, row in zip(leads, x):
        data = row.astype("<i2").tobytes()
        parts.append(
            f"<LeadData><LeadByteCountTotal>{len(data)}</LeadByteCountTotal>"
            f"<LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal>"
            f"<LeadAmplitudeUnitsPerBit>{units_per_bit}</LeadAmplitudeUnitsPerBit>"
            f"<LeadAmplitudeUnits>{unit}</LeadAmplitudeUnits><LeadID>{name}</LeadID>"
            f"<LeadSampleSize>2</LeadSampleSize><LeadDataCRC32>{zlib.crc32(data)}</LeadDataCRC32>"
            f"<WaveFormData>{base64.b64encode(data).decode()}</WaveFormData></LeadData>"
        )
    return "".join([*parts, "</Waveform>"])


def write_muse(path, x, leads=EIGHT, rate=500, *, units_per_bit=4.88, unit="MICROVOLTS", head="", extra=""):
    median = muse_waveform(x[:, :600] // 2, leads, rate, units_per_bit, unit, "Median")
    rhythm = muse_waveform(x, leads, rate, units_per_bit, unit)
    path.write_text(
        f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{head}<RestingECG>{extra}{median}{rhythm}</RestingECG>\n',
        encoding="latin-1",
    )
    return path


# ---- HL7 aECG -------------------------------------------------------------------------------------------------------


def write_aecg(path, x, leads=LEADS, step="0.002", *, step_unit="s", scale="5", unit="uV", origin="0", head=""):
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{name.upper()}" codeSystem="2.16.840.1.113883.6.24"/>'
        f'<value xsi:type="SLIST_PQ"><origin value="{origin}" unit="{unit}"/><scale value="{scale}" unit="{unit}"/>'
        f"<digits>{' '.join(map(str, row.tolist()))}</digits></value></sequence></component>"
        for name, row in zip(leads, x)
    )
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}'
        '<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        '<component><series><code code="RHYTHM"/><component><sequenceSet>'
        '<component><sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS">'
        f'<head value="20260101120000.000"/><increment value="{step}" unit="{step_unit}"/></value></sequence>'
        "</component>"
        f"{sequences}</sequenceSet></component></series></component></AnnotatedECG>\n",
        encoding="utf-8",
    )
    return path


# ---- SCP-ECG --------------------------------------------------------------------------------------------------------

SCP_CODES = dict(zip((*EIGHT, "III", "aVR", "aVL", "aVF"), (1, 2, 3, 4, 5, 6, 7, 8, 61, 62, 63, 64)))


def scp_section(number, body):
    body += b"\0" * (len(body) % 2)
    tail = struct.pack("<HIBB6s", number, 16 + len(body), 20, 20, b"SCPECG" if number == 0 else b"") + body
    return struct.pack("<H", binascii.crc_hqx(tail, 0xFFFF)) + tail


def write_scp(path, x, leads=LEADS, *, nanovolts=5000, interval_us=2000, ranges=None):
    """Amplitudes without compression. `ranges` are first and last sample of each lead as section 3 has them."""
    ranges = ranges or [(1, x.shape[1])] * len(x)
    definition = bytes([len(x), 0x04 | len(x) << 3 & 0xFF])
    definition += b"".join(struct.pack("<IIB", *ends, SCP_CODES[name]) for ends, name in zip(ranges, leads))
    rhythm = struct.pack("<HHBB", nanovolts, interval_us, 0, 0)
    rhythm += b"".join(struct.pack("<H", 2 * x.shape[1]) for _ in x) + x.astype("<i2").tobytes()
    sections = dict.fromkeys(range(12), b"") | {3: scp_section(3, definition), 6: scp_section(6, rhythm)}
    at = 7 + 16 + 10 * len(sections)
    pointers = struct.pack("<HII", 0, at - 7, 7)
    for number in range(1, 12):
        size = len(sections[number])
        pointers += struct.pack("<HII", number, size, at if size else 0)
        at += size
    content = scp_section(0, pointers) + b"".join(sections[number] for number in range(1, 12))
    content = struct.pack("<I", 6 + len(content)) + content
    path.write_bytes(struct.pack("<H", binascii.crc_hqx(content, 0xFFFF)) + content)
    return path


# ---- EDF and BDF ----------------------------------------------------------------------------------------------------


def write_edf(path, x, leads=LEADS, rate=500, *, unit="uV", step=5, bdf=False, records=None, reserved="", others=()):
    """One second a data record. `others` are (label, unit, samples a record) of further signals, all zeros."""
    seconds = x.shape[1] // rate
    labels = [*leads, *(label for label, _, _ in others)]
    units = [unit] * len(x) + [unit for _, unit, _ in others]
    sizes = [rate] * len(x) + [size for _, _, size in others]
    low, high = (-8388608, 8388607) if bdf else (-32768, 32767)
    fields = [
        (16, labels),
        (80, [""] * len(labels)),
        (8, units),
        (8, [low * step] * len(labels)),
        (8, [high * step] * len(labels)),
        (8, [low] * len(labels)),
        (8, [high] * len(labels)),
        (80, [""] * len(labels)),
        (8, sizes),
        (32, [""] * len(labels)),
    ]
    head = b"\xffBIOSEMI" if bdf else b"0".ljust(8)
    head += b"".join(
        str(text).ljust(width).encode()
        for width, text in (
            (80, "X"),
            (80, "X"),
            (8, "01.01.26"),
            (8, "12.00.00"),
            (8, 256 * (1 + len(labels))),
            (44, reserved),
            (8, seconds if records is None else records),
            (8, 1),
            (4, len(labels)),
        )
    )
    head += b"".join(str(value).ljust(width).encode() for width, values in fields for value in values)
    data = b""
    for second in range(seconds):
        part = x[:, second * rate : (second + 1) * rate].astype("<i4")
        data += part.view("u1").reshape(*part.shape, 4)[..., :3].tobytes() if bdf else part.astype("<i2").tobytes()
        data += bytes(sum(size for _, _, size in others) * (3 if bdf else 2))
    path.write_bytes(head + data)
    return path


# ---- CODE-15's HDF5 -------------------------------------------------------------------------------------------------


def write_code15(path, x, numbers, **options):
    """x: (exams, samples, 12) float32."""
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", data=x, **options)
        file.create_dataset("exam_id", data=np.asarray(numbers, dtype=np.int64))
    return path


# ---- DICOM ----------------------------------------------------------------------------------------------------------


def dicom_group(x, leads=LEADS, rate=500, *, sensitivity="5", unit="uV", baseline="0", by="meaning"):
    """An item of the waveform sequence. `by` says how channels are named: "code", "meaning" or "label"."""
    from pydicom.dataset import Dataset

    group = Dataset()
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = x.shape
    group.SamplingFrequency = str(rate)
    group.ChannelDefinitionSequence = []
    for name in leads:
        channel, source, units = Dataset(), Dataset(), Dataset()
        if by == "label":
            channel.ChannelLabel = name
        elif by == "code":
            source.CodeValue, source.CodingSchemeDesignator = f"2:{SCP_CODES[name]}", "MDC"
            source.CodeMeaning = "a lead"
        else:
            source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "9", "99X", f"Lead {name}"
        channel.ChannelSourceSequence = [source] if len(source) else []
        if unit is not None:
            units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = unit, "UCUM", unit
            channel.ChannelSensitivity, channel.ChannelSensitivityUnitsSequence = sensitivity, [units]
            channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = "1", baseline
        channel.WaveformBitsStored = 16
        group.ChannelDefinitionSequence.append(channel)
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = x.T.astype("<i2").tobytes()
    return group


def write_dicom(path, *groups, syntax="1.2.840.10008.1.2.1"):
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset

    data, meta = Dataset(), FileMetaDataset()
    meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = syntax
    data.file_meta, data.Modality = meta, "ECG"
    if groups:
        data.WaveformSequence = list(groups)
    big = syntax == "1.2.840.10008.1.2.2"
    if big:
        for group in groups:
            group.WaveformData = np.frombuffer(group.WaveformData, "<i2").astype(">i2").tobytes()
    pydicom.dcmwrite(path, data, enforce_file_format=True, little_endian=not big, implicit_vr=False)
    return path

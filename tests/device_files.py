"""Writers of small recordings as devices store them: XML of several makers, ISHNE, ATC, MFER, FHIR.

Each takes a path, integer counts (leads, samples), and what the format needs; each returns the path.
"""

import base64
import binascii
import json
import struct

import numpy as np
from made_files import LEADS

# ---- Philips XML ----------------------------------------------------------------------------------------------------


def lzw(raw, bits=10):
    """Bytes packed by LZW in codes of 10 bits, as `ecgfm.io.xli` unpacks them."""
    table, codes, text = {bytes([i]): i for i in range(256)}, [], b""
    for i in range(len(raw)):
        longer = text + raw[i : i + 1]
        if longer in table:
            text = longer
            continue
        codes.append(table[text])
        if len(table) < (1 << bits) - 1:
            table[longer] = len(table)
        text = longer[-1:]
    codes += [table[text]] if text else []
    packed = "".join(f"{code:0{bits}b}" for code in codes)
    packed += "0" * (-len(packed) % 8)
    return bytes(int(packed[i : i + 8], 2) for i in range(0, len(packed), 8))


def xli_block(row):
    """A lead as a block of XLI: differences of differences, high bytes before low ones."""
    row = np.asarray(row, np.int64)
    turns = -np.diff(row, 2)  # of sample 2 and on
    stored = np.concatenate([row[:2], turns[1:] + 64, [64]]).astype(np.int16)
    raw = (stored.view(np.uint16) >> 8).astype(np.uint8).tobytes() + (stored.view(np.uint16) & 255).astype(
        np.uint8
    ).tobytes()
    packed = lzw(raw)
    return struct.pack("<iHh", len(packed), 0, turns[0]) + packed


def xli(x):
    """12 leads, of which four are packed as what differs from what follows from I and II."""
    x = np.asarray(x, np.int64)
    one, two, three, avr, avl, avf = x[:6]
    rest = two - one - three, -avr - (one + two) // 2, (one - three) // 2 - avl, (two + three) // 2 - avf
    return b"".join(map(xli_block, [one, two, *rest, *x[6:]]))


def with_pulse(x, rate=500, step=5):
    """Counts that end, as Philips' do, with a second of zeros in which there is a pulse of 1 mV."""
    tail = np.zeros((len(x), rate), np.int64)
    tail[:, 7 * rate // 10 : 9 * rate // 10] = round(1000 / step)
    return np.concatenate([x, tail], axis=1)


def write_philips(
    path,
    x,
    *,
    version="1.04",
    kind="PhilipsECG",
    rate=500,
    step="5",
    data=None,
    encoding="utf-8",
    duration=None,
    **more,
):
    """Version 1.03 says of the signal what 1.04 says of the waveforms."""
    duration = 1000 * x.shape[1] // rate if duration is None else duration
    data = base64.b64encode(xli(x)).decode() if data is None else data
    data = "\n".join(data[i : i + 76] for i in range(0, len(data), 76))
    if version.startswith("1.03"):
        about = f"<signalresolution>{step}</signalresolution><leadset>STD-12</leadset>"
        attributes = {"compressflag": "True", "compressmethod": "XLI"}
    else:
        about = f"<resolution>{step}</resolution>"
        labels = " ".join(LEADS[: len(x)])
        attributes = {"compression": "XLI", "leadlabels": labels, "numberofleads": len(x), "samplespersecond": rate}
        attributes["resolution"] = step
    attributes |= {"dataencoding": "Base64", "durationperchannel": duration} | more
    text = " ".join(f'{name}="{value}"' for name, value in attributes.items() if value is not None)
    path.write_text(
        f'<?xml version="1.0" encoding="{encoding[:6].rstrip("-").upper()}"?>\n'
        '<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>'
        f"<documenttype>{kind}</documenttype><documentversion>{version}</documentversion></documentinfo>"
        f"<dataacquisition><signalcharacteristics><samplingrate>{rate}</samplingrate>{about}"
        f"<numberchannelsallocated>{len(x)}</numberchannelsallocated></signalcharacteristics></dataacquisition>"
        f"<waveforms><parsedwaveforms {text}>{data}</parsedwaveforms>"
        '<repbeats><repbeat leadname="I"><waveform duration="10">AAAA</waveform></repbeat></repbeats></waveforms>'
        "</restingecgdata>\n",
        encoding=encoding,
    )
    return path


# ---- Schiller and CardioSoft XML ------------------------------------------------------------------------------------


def schiller_waves(x, leads, kind, rate, step, unit):
    channels = "".join(
        f"<channel><annotation_lead><name>P_DUR</name><value>1</value></annotation_lead><name>{name}</name>"
        f"<data>{','.join(map(str, row.tolist()))}</data><datastype>COMMASEPARATE</datastype>"
        f"<samplecount>{len(row)}</samplecount></channel>"
        for name, row in zip(leads, x)
    )
    return (
        f"<wavedata><type>{kind}</type><resolution><samplerate><exponent>1</exponent><value>{rate}</value></samplerate>"
        f"<yres><unitperbit>{step}</unitperbit><units>{unit}</units></yres></resolution>{channels}</wavedata>"
    )


def write_schiller(path, x, leads=tuple(map(str.upper, LEADS)), rate=500, *, step="1.0", unit="UV", head=""):
    root = "com.xiriuz.sema.xml.schillerEDI.SchillerEDI"
    waves = schiller_waves(x[:, :50] // 2, leads, "ECG_AVERAGES", rate, step, unit)
    waves += schiller_waves(x, leads, "ECG_RHYTHMS", rate, step, unit)
    path.write_text(
        f'\ufeff<?xml version="1.0" encoding="UTF-8"?>\n{head}<{root}><patdata><id/></patdata>'
        f"<eventdata><event>{waves}</event></eventdata></{root}>\n"
    )
    return path


def write_cardiosoft(path, x, leads=LEADS, rate=500, *, step="5", unit="uVperLsb", head="", count=None):
    def waves(kind, x):
        lists = [",".join(map(str, row.tolist())).replace(",7", ",\n7") for row in x]  # with ends of lines within
        rows = "".join(f'<WaveformData lead="{name}">\t\t{text}</WaveformData>' for name, text in zip(leads, lists))
        return (
            f'<{kind}><NumberOfLeads>{len(x)}</NumberOfLeads><SampleRate units="Hz">{rate}</SampleRate>'
            f"<ChannelSampleCountTotal>{x.shape[1] if count is None else count}</ChannelSampleCountTotal>"
            f'<Resolution units="{unit}">{step}</Resolution>{rows}</{kind}>'
        )

    path.write_text(
        f'<?xml version="1.0" encoding="ISO-8859-1" ?>\n{head}<CardiologyXML><ObservationType>RestECG</ObservationType>'
        f"<RestingECGMeasurements>{waves('MedianSamples', x[:, :60] // 2)}</RestingECGMeasurements>"
        f'<VectorLoops><Frontal Lead="X">1,2,3</Frontal></VectorLoops>{waves("StripData", x)}</CardiologyXML>\n',
        encoding="latin-1",
    )
    return path


def write_mortara(path, x, leads=LEADS, rate=1000, *, per_mv=200, offset=0, duration=None, encoding="BASE64", head=""):
    about = f'OFFSET="{offset}" BITS="16" FORMAT="SIGNED" UNITS_PER_MV="{per_mv}" SAMPLE_FREQ="{rate}"'

    def channel(kind, name, row):
        data = base64.b64encode(row.astype("<i2").tobytes()).decode()
        count = len(row) if duration is None else duration
        return f'<{kind} {about} DURATION="{count}" NAME="{name}" ENCODING="{encoding}" DATA="{data}" />'

    channels = "".join(channel("CHANNEL", name, row) for name, row in zip(leads, x))
    cycles = "".join(channel("TYPICAL_CYCLE_CHANNEL", name, row[:40]) for name, row in zip(leads, x))
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<ECG ACQUISITION_TIME="20200101120000" AGE="50">'
        f"<SUBJECT ID='1'/><TYPICAL_CYCLE {about}>{cycles}</TYPICAL_CYCLE>{channels}</ECG>\n"
    )
    return path


# ---- ISHNE ----------------------------------------------------------------------------------------------------------


def write_ishne(path, x, codes=range(5, 17), rate=500, *, step=5000, samples=None, extra=b""):
    head = bytearray(522)
    count = len(x)
    start = 522 + len(extra)
    struct.pack_into("<4ih", head, 10, len(extra), x.shape[1] if samples is None else samples, 522, start, 1)
    struct.pack_into(f"<h{count}h", head, 156, count, *list(codes)[:count])
    struct.pack_into(f"<{count}h", head, 206, *[step] * count)
    struct.pack_into("<h", head, 272, rate)
    head = bytes(head[10:]) + extra
    path.write_bytes(
        b"ISHNE1.0" + struct.pack("<H", binascii.crc_hqx(head, 0xFFFF)) + head + x.T.astype("<i2").tobytes()
    )
    return path


# ---- AliveCor's ATC -------------------------------------------------------------------------------------------------


def atc_block(name, data):
    head = name.encode() + struct.pack("<I", len(data)) + data
    return head + struct.pack("<I", sum(head))


def write_atc(path, x, *, rate=300, step=500, kind=1, extra=b""):
    names = ["ecg ", *(f"ecg{number}" for number in range(2, 7))]
    blocks = [atc_block("info", bytes(264)), atc_block("fmt ", struct.pack("<BHHBH", kind, rate, step, 2, 0))]
    blocks += [atc_block(name, row.astype("<i2").tobytes()) for name, row in zip(names, x)]
    path.write_bytes(b"ALIVE\0\0\0" + struct.pack("<I", 3) + b"".join(blocks) + extra)
    return path


def kardia(x, names=("leadI", "leadII", "leadIII", "AVR", "AVL", "AVF"), *, rate=300, step=500, **more):
    """What AliveCor's API gives of a recording; the enhanced samples are others than the raw ones."""
    samples = {name: row.tolist() for name, row in zip(names, x)}
    raw = {"frequency": rate, "mainsFrequency": 60, "amplitudeResolution": step, "samples": samples}
    enhanced = raw | {"samples": {name: [0] * len(row) for name, row in samples.items()}}
    data = {"enhanced": enhanced, "raw": raw | more}
    return {"id": "a", "recordedAt": "2020-01-01T12:00:00Z", "algorithmDetermination": "normal", "data": data}


def write_kardia(path, x, **options):
    path.write_text(json.dumps(kardia(x, **options)))
    return path


# ---- MFER -----------------------------------------------------------------------------------------------------------


def mfer(tag, value, channel=None):
    """A definition; of a channel, if one is given."""
    length = bytes([len(value)]) if len(value) < 128 else b"\x84" + struct.pack(">I", len(value))
    own = bytes([tag]) + length + value
    return own if channel is None else mfer_channel(channel, own)


def mfer_channel(channel, definitions):
    return bytes([0x3F, channel, len(definitions)]) + definitions


MFER_CODES = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)))


def write_mfer(
    path, x, leads=LEADS, rate_ms=2, *, microvolts=5, block=None, order="<", null=None, others=(), end=b"\x80"
):
    """`others` are channels that are no ECG: (code, unit, counts)."""
    block = x.shape[1] if block is None else block
    number = lambda value, form: struct.pack(order + form, value)  # noqa: E731
    rows = [*x, *(row for _, _, row in others)]
    parts = [mfer(0x40, b"MFR " + bytes(28)), mfer(0x01, b"\1" if order == "<" else b"\0")]
    parts += [mfer(0x0B, b"\x01\xfd" + number(rate_ms, "B"))]
    parts += [mfer(0x05, number(len(rows), "H")), mfer(0x06, number(x.shape[1] // block, "H"))]
    parts += [mfer(0x04, number(block, "I"))]
    parts += [mfer(0x12, number(null, "h"))] if null is not None else []
    units = [*((MFER_CODES[name], 0) for name in leads[: len(x)]), *((code, unit) for code, unit, _ in others)]
    for channel, (code, unit) in enumerate(units):
        step = bytes([unit]) + b"\xfa" + number(microvolts, "H")
        parts.append(mfer_channel(channel, mfer(0x09, number(code, "H")) + mfer(0x0A, b"\0") + mfer(0x0C, step)))
    data = np.stack(rows).astype(order + "i2").reshape(len(rows), -1, block).transpose(1, 0, 2).tobytes()
    path.write_bytes(b"".join(parts) + mfer(0x1E, data) + end)
    return path


# ---- FHIR -----------------------------------------------------------------------------------------------------------


def fhir_observation(x, leads=LEADS, *, period=2, factor=5, origin=0, unit="uV", bundle=False, **more):
    components = [
        {
            "code": {"coding": [{"system": "urn:oid:2.16.840.1.113883.6.24", "display": f"MDC_ECG_ELEC_POTL_{name}"}]},
            "valueSampledData": {
                "origin": {"value": origin} | ({"unit": unit} if unit else {}),
                "period": period,
                "factor": factor,
                "dimensions": 1,
                "data": " ".join(map(str, row.tolist())),
            }
            | more,
        }
        for name, row in zip(leads, x)
    ]
    found = {"resourceType": "Observation", "status": "final", "component": components}
    return {"resourceType": "Bundle", "entry": [{"resource": found}]} if bundle else found


def write_fhir(path, x, leads=LEADS, **options):
    path.write_text(json.dumps(fhir_observation(x, leads, **options)))
    return path

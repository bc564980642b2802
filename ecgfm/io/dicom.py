"""DICOM waveforms: the multiplex group that holds most of the 12 leads."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from ..ecg.record import Record
from ..errors import FormatError, LeadError, SignalError
from ..signal.leads import LEADS, canonical_lead
from ..storage.inputs import read_input
from .common import Format, Given, check_size, make_record, millivolts_per, misnamed
from .dicom_elements import Elements, parse

__all__ = ["FORMAT"]

_MODALITY = 0x00080060
_GROUPS, _CHANNELS, _SOURCES, _UNITS = 0x54000100, 0x003A0200, 0x003A0208, 0x003A0211  # sequences
_ORIGINALITY, _CHANNEL_COUNT, _SAMPLE_COUNT, _RATE = 0x003A0004, 0x003A0005, 0x003A0010, 0x003A001A  # of a group
_BITS, _INTERPRETATION, _PADDING, _DATA = 0x54001004, 0x54001006, 0x5400100A, 0x54001010
_LABEL, _SENSITIVITY, _CORRECTION, _BASELINE = 0x003A0203, 0x003A0210, 0x003A0212, 0x003A0213  # of a channel
_CODE_VALUE, _CODE_MEANING = 0x00080100, 0x00080104
_SAMPLES = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4"}
_MAX_FILE, _MAX_CHANNELS, _MAX_NAME = 1 << 30, 512, 64
_CODE = re.compile(r"(?:2:|5\.6\.3-9-)(\d{1,4})$")  # of leads, in MDC and in SCP-ECG's coding scheme
_CODES = dict(zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), LEADS))


def _read(path: str, given: Given) -> Record:
    content = read_input(path, most=_MAX_FILE)
    if not _matches(content):
        raise misnamed("a DICOM file has DICM at byte 128", path)
    dataset = parse(content, {_GROUPS, _CHANNELS, _SOURCES, _UNITS}, path)
    groups = [_Group(item, path) for item in dataset.items(_GROUPS)]
    if not groups:
        kind = short(dataset.text(_MODALITY) or "no modality", 20)
        raise FormatError(f"the file holds no waveforms ({kind})", path=path, field="WaveformSequence")
    best = max(groups, key=lambda group: (group.count, group.original))  # the first of equals
    signal = best.millivolts(content)
    notes = best.notes
    if len(groups) > 1:
        notes = [f"read: waveform group {groups.index(best) + 1} of {len(groups)}", *notes]
    rate = best.item.number(_RATE, "SamplingFrequency")
    return make_record(
        signal, path, given, field="WaveformData", rate=rate, leads=best.leads, units=best.units, notes=notes
    )


class _Group:
    """An item of the waveform sequence."""

    def __init__(self, item: Elements, path: str) -> None:
        self.item, self.path = item, path
        self.notes: list[str] = []
        self.units: list[str | None] = []
        self.channels = item.items(_CHANNELS)
        if len(self.channels) > _MAX_CHANNELS:
            raise FormatError(f"{len(self.channels)} channels", path=path, field="ChannelDefinitionSequence")
        self.leads = [_lead(channel, i) for i, channel in enumerate(self.channels)]
        self.count = len(set(self.leads) & set(LEADS))
        self.original = (item.text(_ORIGINALITY) or "").upper() != "DERIVED"

    def millivolts(self, content: bytes) -> NDArray[np.float32]:
        """(leads, samples) float32, a lead at a time: the samples may be stored in a byte each."""
        if not self.count:
            raise LeadError(
                f"no channel is one of the 12 leads: {', '.join(self.leads) or 'none'}", path=self.path, field="leads"
            )
        raw = self._samples(content)
        padding, padded = self._padding(raw)
        signal = np.empty(raw.shape[::-1], np.float32)
        for i, (name, channel) in enumerate(zip(self.leads, self.channels)):
            factor, baseline = self._scale(name, channel)
            row = raw[:, i].astype(np.float64)
            if i in padded:
                row[raw[:, i] == padding] = np.nan
            row *= factor
            row += baseline
            with np.errstate(over="ignore"):
                signal[i] = row
        return signal

    def _samples(self, content: bytes) -> NDArray[Any]:
        """(samples, channels), as stored."""
        item = self.item
        shape = (
            item.integer(_SAMPLE_COUNT, "NumberOfWaveformSamples"),
            item.integer(_CHANNEL_COUNT, "NumberOfWaveformChannels"),
        )
        if shape[1] != len(self.channels):
            raise FormatError(
                f"{shape[1]} channels, {len(self.channels)} described", path=self.path, field="NumberOfWaveformChannels"
            )
        kind = item.integer(_BITS, "WaveformBitsAllocated"), short(item.text(_INTERPRETATION) or "nothing", 20)
        if kind not in _SAMPLES:
            raise FormatError(
                f"samples of {kind[0]} bits as {kind[1]} are not read", path=self.path, field="WaveformData"
            )
        expected = check_size(shape, kind[0] // 8, path=self.path, field="WaveformData")
        start, present = item.place(_DATA)
        if expected > present:
            raise FormatError(
                f"truncated: {shape[0]:,} samples of {shape[1]} channels take {expected:,} bytes, {present:,} are"
                " there",
                path=self.path,
                field="WaveformData",
            )
        dtype = np.dtype(item.order + _SAMPLES[kind])
        return np.frombuffer(content, dtype, shape[0] * shape[1], start).reshape(shape)

    def _padding(self, raw: NDArray[Any]) -> tuple[Any, list[int]]:
        """The value of what is no sample, and the numbers of the leads in which it stands for that."""
        value = self.item.first_bytes(_PADDING, raw.itemsize)
        if len(value) < raw.itemsize:
            return None, []
        padding = np.frombuffer(value, raw.dtype)[0]
        ranges = [_range(row, padding) for row in raw.T]
        known = [found for found, _ in ranges if found]
        whole = (min(low for low, _ in known), max(high for _, high in known)) if known else (padding, padding)
        leads = [i for i, (found, hit) in enumerate(ranges) if hit and _cannot_be_a_sample(padding, *(found or whole))]
        if len(leads) < sum(hit for _, hit in ranges):
            self.notes.append(f"samples of the padding value {padding} are kept: they can't be told from others")
        return padding, leads

    def _scale(self, name: str, channel: Elements) -> tuple[float, float]:
        """The factor and the offset to millivolts."""
        sensitivity = channel.number(_SENSITIVITY, f"lead {name}: ChannelSensitivity")
        units = channel.items(_UNITS)
        unit = units[0].text(_CODE_VALUE) if units else None
        millivolts = millivolts_per(unit)
        if sensitivity is None or millivolts is None:
            raise SignalError(
                f"sensitivity {sensitivity}, unit {shown(unit)}: no voltage", path=self.path, field=f"lead {name}"
            )
        self.units.append(unit)
        correction = channel.number(_CORRECTION, f"lead {name}: ChannelSensitivityCorrectionFactor")
        baseline = channel.number(_BASELINE, f"lead {name}: ChannelBaseline")
        return sensitivity * (1.0 if correction is None else correction) * millivolts, (baseline or 0.0) * millivolts


def _range(row: NDArray[Any], padding: Any) -> tuple[tuple[Any, Any] | None, bool]:
    """The lowest and the highest of the samples that are no padding, None if there are none, and whether some are."""
    hit = row == padding
    some = bool(hit.any())
    row = row[~hit] if some else row
    return (row.min(), row.max()) if len(row) else None, some


def _cannot_be_a_sample(padding: Any, low: Any, high: Any) -> bool:
    """Whether a padding value can be told from samples that lie between two others.

    Some devices write 0, which is a sample of every ECG. Padding is the lowest or highest number that the samples can
    have (0 isn't, also of numbers without sign), or lies further from all of them than they lie from each other, and
    than a hundredth of what can be stored.
    """
    limits = np.iinfo(padding.dtype)
    if padding and padding in (limits.min, limits.max):
        return True
    padding, low, high = int(padding), int(low), int(high)
    margin = max(high - low, (int(limits.max) - int(limits.min)) // 100)
    return not low - margin <= padding <= high + margin


def _lead(channel: Elements, number: int) -> str:
    """The name of a channel: from its code, else from the code's meaning or the label, else its number."""
    sources = channel.items(_SOURCES)[:1]
    for source in sources:
        code = _CODE.match(source.text(_CODE_VALUE) or "")
        if code and int(code[1]) in _CODES:
            return _CODES[int(code[1])]
    texts = [*(source.text(_CODE_MEANING) for source in sources), channel.text(_LABEL)]
    names = [canonical_lead(short(text, _MAX_NAME)) for text in texts if text]
    return next((name for name in names if name in LEADS), names[0] if names else f"channel {number + 1}")


def _matches(head: bytes) -> bool:
    return head[128:132] == b"DICM"


FORMAT = Format("DICOM", (".dcm", ".dicom"), _matches, _read)

"""DICOM waveforms: the multiplex group that holds most of the 12 leads. pydicom parses."""

import io
import re

import numpy as np

from ...errors import FormatError, LeadError, SignalError
from ..record import LEADS, canonical_lead
from .common import Format, check_file_size, check_size, make_record, millivolts_per, optional, parsing, warned

__all__ = ["FORMAT"]

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_SAMPLES = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4"}
_MAX_FILE, _MAX_CHANNELS = 1 << 30, 512
_CODE = re.compile(r"(?:2:|5\.6\.3-9-)(\d+)$")  # of leads, in MDC and in SCP-ECG's coding scheme
_CODES = dict(zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), LEADS))


def _matches(head):
    return head[128:132] == b"DICM"


def _read(path, *, sampling_rate, leads):
    library = optional("pydicom", path, "DICOM files")
    check_file_size(path, _MAX_FILE)
    with open(path, "rb") as file:
        content = file.read()
    if _DEFLATED in content:  # the library would inflate it before anything else
        raise FormatError("a deflated data set is not read", path=path, remedy="Store it without compression")
    with parsing(path, "DICOM"), warned() as notes:
        # From memory, where a length that lies gets what is there; from a file the library asks for all of it.
        dataset = library.dcmread(io.BytesIO(content), stop_before_pixels=True)
        del content
        groups = [_Group(item, path) for item in dataset.get("WaveformSequence") or ()]
        if not groups:
            kind = dataset.get("Modality") or "no modality"
            raise FormatError(f"the file holds no waveforms ({kind})", path=path, field="WaveformSequence")
        best = max(groups, key=lambda group: (group.count, group.original))  # the first of equals
        signal = best.millivolts(library, groups.index(best), dataset)
        rate = best.item.get("SamplingFrequency")
    if len(groups) > 1:
        notes = [f"read: waveform group {groups.index(best) + 1} of {len(groups)}", *notes]
    return make_record(
        signal,
        path,
        field="WaveformData",
        rate=None if rate is None else float(rate),
        given_rate=sampling_rate,
        leads=best.leads,
        given_leads=leads,
        notes=notes,
    )


class _Group:
    """An item of the waveform sequence."""

    def __init__(self, item, path):
        self.item, self.path = item, path
        self.channels = list(item.get("ChannelDefinitionSequence") or ())
        if len(self.channels) > _MAX_CHANNELS:
            raise FormatError(f"{len(self.channels)} channels", path=path, field="ChannelDefinitionSequence")
        self.leads = [_lead(channel, i) for i, channel in enumerate(self.channels)]
        self.count = len(set(self.leads) & set(LEADS))
        self.original = str(item.get("WaveformOriginality", "")).upper() != "DERIVED"

    def millivolts(self, library, index, dataset):
        """(leads, samples) float64."""
        item = self.item
        if not self.count:
            raise LeadError(
                f"no channel is one of the 12 leads: {', '.join(self.leads) or 'none'}", path=self.path, field="leads"
            )
        shape = self._claim("NumberOfWaveformSamples"), self._claim("NumberOfWaveformChannels")
        if shape[1] != len(self.channels):
            raise FormatError(
                f"{shape[1]} channels, {len(self.channels)} described", path=self.path, field="NumberOfWaveformChannels"
            )
        kind = self._claim("WaveformBitsAllocated"), str(item.get("WaveformSampleInterpretation"))
        if kind not in _SAMPLES:
            raise FormatError(
                f"samples of {kind[0]} bits as {kind[1]} are not read", path=self.path, field="WaveformData"
            )
        expected = check_size(shape, kind[0] // 8, path=self.path, field="WaveformData")
        present = len(item.get("WaveformData") or b"")
        if expected > present:
            raise FormatError(
                f"truncated: {shape[0]:,} samples of {shape[1]} channels take {expected:,} bytes, {present:,} are"
                " there",
                path=self.path,
                field="WaveformData",
            )
        raw = library.waveforms.multiplex_array(dataset, index, as_raw=True)
        order = ">" if dataset.original_encoding[1] is False else "<"
        raw = raw.view(order + _SAMPLES[kind])  # pydicom takes the samples to be in the processor's byte order
        signal = raw.T.astype(np.float64, order="C")
        padding = _padding(item, order + _SAMPLES[kind])
        if padding is not None:
            signal[raw.T == padding] = np.nan
        for row, name, channel in zip(signal, self.leads, self.channels):
            factor, baseline = self._scale(name, channel)
            row *= factor
            row += baseline
        return signal

    def _claim(self, name):
        value = self.item.get(name)
        if not isinstance(value, int) or value < 1:
            raise FormatError(f"{value!r} is no number", path=self.path, field=name)
        return int(value)

    def _scale(self, name, channel):
        """The factor and the offset to millivolts."""
        sensitivity = channel.get("ChannelSensitivity")
        units = channel.get("ChannelSensitivityUnitsSequence")
        unit = units[0].get("CodeValue") if units else None
        millivolts = millivolts_per(unit)
        if sensitivity is None or millivolts is None:
            raise SignalError(
                f"sensitivity {sensitivity}, unit {unit}: no voltage", path=self.path, field=f"lead {name}"
            )
        correction = channel.get("ChannelSensitivityCorrectionFactor")
        baseline = channel.get("ChannelBaseline")
        factor = float(sensitivity) * (1.0 if correction is None else float(correction)) * millivolts
        return factor, (0.0 if baseline is None else float(baseline)) * millivolts


def _lead(channel, number):
    """The name of a channel: from its code, else from the code's meaning or the label, else its number."""
    source = channel.get("ChannelSourceSequence")
    names = []
    if source:
        code = _CODE.match(str(source[0].get("CodeValue", "")).strip())
        if code and int(code[1]) in _CODES:
            return _CODES[int(code[1])]
        names.append(source[0].get("CodeMeaning"))
    names.append(channel.get("ChannelLabel"))
    names = [canonical_lead(name) for name in names if name]
    return next((name for name in names if name in LEADS), names[0] if names else f"channel {number + 1}")


def _padding(item, kind):
    value = item.get("WaveformPaddingValue")
    if isinstance(value, bytes):
        size = np.dtype(kind).itemsize
        return np.frombuffer(value[:size], kind)[0] if len(value) >= size else None
    return value


FORMAT = Format("DICOM", (".dcm", ".dicom"), _matches, _read)

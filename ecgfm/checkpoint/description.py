"""What `ecgfm inspect` says of a checkpoint."""

from .plain import Refused
from .storage import Tensor

__all__ = ["describe", "describe_text"]

_FORMATS = {
    "pt": "pt (zip archive of torch.save)",
    "pt-legacy": "pt-legacy (the container of torch.save before 1.6)",
    "safetensors": "safetensors with config.json",
}
_SOURCES = {
    "built-in, assumed": "built-in, assumed: the names of ECG-FM's published MIMIC-IV-ECG model, as the file has none",
    "file": "from the file",
    "label_def.csv": "from label_def.csv beside the file",
    "the caller": "as given",
}
MAX_TEXT = 500


def describe(found):
    """Facts on a Checkpoint as JSON can hold them.

    Parameters
    ----------
    found : Checkpoint

    Returns
    -------
    dict
        ``file``, ``format``, ``kind``, ``parameters``, ``config``, ``settings``, ``labels``, ``labels_source``,
        ``info``, ``content`` (names of what else is in the file), ``refused``, ``unused``, and ``tensors`` (a list of
        ``name``, ``shape``, ``dtype``).
    """
    return {
        "file": str(found.path),
        "format": found.format,
        "kind": found.kind,
        "parameters": found.num_parameters,
        "config": {key: _jsonable(value) for key, value in found.config.items()},
        "settings": _jsonable(found.settings),
        "labels": None if found.labels is None else list(found.labels),
        "labels_source": found.labels_source,
        "info": _jsonable(found.info),
        "content": [str(key) for key in found.content],
        "refused": list(found.refused),
        "unused": list(found.unused),
        "tensors": [
            {"name": name, "shape": list(tensor.shape), "dtype": str(tensor.dtype)}
            for name, tensor in found.tensors.items()
        ],
    }


def _jsonable(value):
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    return str(value) if isinstance(value, (Refused, Tensor)) else f"<{type(value).__name__}>"


def describe_text(found):
    """The same for people: a list of lines."""
    facts = describe(found)
    dtypes = sorted({entry["dtype"] for entry in facts["tensors"]})
    outputs = f", {facts['config']['num_labels']} outputs" if found.kind == "classifier" else ""
    lines = [
        f"file        {facts['file']}",
        f"format      {_FORMATS[found.format]}",
        f"kind        {found.kind}{outputs}",
        f"parameters  {found.num_parameters:,} in {len(found.tensors)} tensors ({', '.join(dtypes)})",
    ]
    lines += [f"{key:<10}  {_short(value)}" for key, value in facts["info"].items()]
    if found.content:
        lines.append(f"also holds  {_short(', '.join(facts['content']))}")
    lines += ["", "architecture"]
    lines += [f"  {key:<23}  {_short(value)}" for key, value in facts["config"].items()]
    others = {k: v for k, v in facts["settings"].items() if k not in facts["config"]}
    if others:
        lines += ["", "other settings of the model"]
        lines += [f"  {key:<23}  {_short(value)}" for key, value in others.items()]
    if found.kind == "classifier":
        lines += ["", f"labels ({_SOURCES.get(found.labels_source, 'none')})"]
        lines += [f"  {i:>3}  {label}" for i, label in enumerate(found.labels or ())]
    lines += ["", "refused (named by the file and not made)" if found.refused else "refused     nothing"]
    lines += [f"  {name}" for name in found.refused]
    if found.unused:
        lines += ["", "tensors that the model does not need"]
        lines += [f"  {_short(name)}" for name in found.unused]
    lines += ["", "tensors"]
    width = max(len(entry["name"]) for entry in facts["tensors"])
    for entry in facts["tensors"]:
        shape = " x ".join(map(str, entry["shape"])) or "number"
        lines.append(f"  {entry['name']:<{width}}  {entry['dtype']:<8}  {shape}")
    return lines


def _short(value):
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."

"""Text that comes from a file or a user, made safe to print: bounded, and without what a terminal would obey."""

import reprlib

__all__ = ["printable", "short", "short_path", "shown"]


def printable(text):
    """The text with escapes for what a terminal would obey or can't show: controls, bidirectional marks, surrogates."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def short(text, most=500):
    """The text, without its end where it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 4] + " ..."


def short_path(text, most=400):
    """A path, without its middle where it is longer than `most` characters, so that the file's name can be read."""
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


class _Bounded(reprlib.Repr):
    """`repr` whose time and length don't depend on how large the value is."""

    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60

    def repr_int(self, value, level):
        if value.bit_length() > 200:
            return f"<an integer of {value.bit_length():,} bits>"
        return repr(value)

    repr_bool = repr_int

    def repr_str(self, value, level):
        return repr(value) if len(value) <= self.maxstring else repr(value[: self.maxstring]) + "..."

    repr_bytes = repr_bytearray = repr_str

    def repr_float(self, value, level):
        return repr(value)

    repr_complex = repr_NoneType = repr_float

    def repr_instance(self, value, level):
        return f"<{type(value).__name__}>"


def shown(value, most=100):
    """A value of a file as text for a message: at most `most` characters, made without a text of the whole value.

    Parameters
    ----------
    value : object
        Of a file or a user: text, number, list, dict or anything else (of which only the type is named).
    """
    import numpy as np

    if isinstance(value, np.generic):
        value = value.item()
    return short(_Bounded().repr(value), most)

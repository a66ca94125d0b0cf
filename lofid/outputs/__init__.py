"""Where audio goes: devices and files, one module each, behind one small interface.

An output is named ``KIND[:ARGUMENT]``. This room knows audio and paths; it must not know bars,
models or the sound room's inside.
"""

from lofid.outputs.output import (
    KINDS,
    SAMPLE_RATE,
    Audio,
    BarLine,
    Block,
    Event,
    Output,
    OutputKind,
    open_output,
    parse,
)

__all__ = ["KINDS", "SAMPLE_RATE", "Audio", "BarLine", "Block", "Event", "Output", "OutputKind", "open_output", "parse"]

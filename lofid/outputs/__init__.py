"""Where the music goes: devices, MIDI ports and files, one module each, behind one interface.

An output is named ``KIND[:ARGUMENT]``. This room knows audio, MIDI and paths; it must not know
models or the sound room's inside.
"""

from lofid.outputs.output import (
    KINDS,
    SAMPLE_RATE,
    Audio,
    BarLine,
    Block,
    FileLabel,
    MidiEvent,
    Output,
    OutputKind,
    Received,
    free_spec,
    open_output,
    parse,
    split_spec,
)

__all__ = [
    "KINDS",
    "SAMPLE_RATE",
    "Audio",
    "BarLine",
    "Block",
    "FileLabel",
    "MidiEvent",
    "Output",
    "OutputKind",
    "Received",
    "free_spec",
    "open_output",
    "parse",
    "split_spec",
]

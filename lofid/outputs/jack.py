"""A MIDI port of JACK, every message on its frame."""

from lofid.outputs.ports import MidiPort, named


def make(argument: str | None) -> MidiPort:
    """The JACK MIDI port of that name; without one it is called lofid."""
    return MidiPort(named(argument, "jack"), "lofid.outputs.jack_host")

"""A MIDI port that other programs on this machine can use: ALSA, CoreMIDI, or JACK."""

from lofid.outputs.ports import MidiPort, named


def make(argument: str | None) -> MidiPort:
    """The MIDI port of that name; without one it is called lofid."""
    return MidiPort(named(argument, "midi"), "lofid.outputs.midi_host")

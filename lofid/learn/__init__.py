"""From archives of MIDI files to trained weights. Knows nothing of the daemon or of outputs."""

"""The presets that come with lofid, one TOML file each."""

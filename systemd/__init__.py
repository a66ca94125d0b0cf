"""The units for systemd; ``lofid service install`` fills in where lofid lies."""

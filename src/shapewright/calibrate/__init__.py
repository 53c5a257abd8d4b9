"""From measured rows to a profile (needs scipy: the `calibrate` extra)."""

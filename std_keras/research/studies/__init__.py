"""The analyses of `tools/analyze.py`, one file each, and what they share."""

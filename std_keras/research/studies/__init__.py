"""The analyses of `std-keras analyze`, one file each, and what they share."""

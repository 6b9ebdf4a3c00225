"""What tools/equality_table.py takes on one device and on several."""

"""What tools.equality_table takes on one device and on several."""

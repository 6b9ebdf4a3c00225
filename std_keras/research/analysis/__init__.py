"""What a trained student learned, and from whom: each analysis as pure functions of arrays.

`std-keras analyze` runs them on run directories and draws the pictures.
"""

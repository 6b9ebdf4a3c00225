"""What a trained student learned, and from whom: each analysis as pure functions of arrays.

`tools/analyze.py` runs them on run directories and draws the pictures; docs/analysis.md says what
each figure means.
"""

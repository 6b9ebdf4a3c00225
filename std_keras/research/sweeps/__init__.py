"""The parts of `tools/sweep.py`: what a sweep is, its runs, how one runs, and the tables."""

"""The parts of `std-keras sweep`: what a sweep is, its runs, how one runs, and the tables."""

"""Classifiers in files that a runtime of their own runs, on the CPU and without TensorFlow."""

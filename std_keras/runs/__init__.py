"""Run directories: what a training leaves, and how it is read, evaluated, packed and named."""

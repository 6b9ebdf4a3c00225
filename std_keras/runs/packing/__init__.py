"""The parts of `std-keras pack`: weights in float16, and the model card."""

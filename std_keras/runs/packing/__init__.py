"""The parts of `tools/pack_model.py`: weights in float16, and the model card."""

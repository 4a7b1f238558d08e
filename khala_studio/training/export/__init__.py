"""Trained weights -> ONNX graphs -> a model pack. Needs onnx; torch only to read checkpoints."""

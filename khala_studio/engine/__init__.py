"""request -> codes -> waveform, through ONNX Runtime; knows neither Qt nor torch."""

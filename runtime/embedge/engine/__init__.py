"""ONNX Runtime, and nothing else of it anywhere: loading, sessions, devices, prepared weights."""

"""ONNX graphs: the builder, and the pieces that every family's graph is made of."""

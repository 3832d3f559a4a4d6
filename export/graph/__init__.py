"""ONNX graphs: what is exported of a network, and rewriting passes over it."""

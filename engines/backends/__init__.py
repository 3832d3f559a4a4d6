"""Backends, which run a model file: ONNX Runtime, PyTorch and TensorRT; see :mod:`engines.backends.base`."""

"""CUDA kernels of our own, for PyTorch and for TensorRT."""

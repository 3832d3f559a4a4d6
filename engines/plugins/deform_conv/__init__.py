"""Modulated deformable convolution as one CUDA kernel: one source for PyTorch on CUDA and for TensorRT's plugin."""

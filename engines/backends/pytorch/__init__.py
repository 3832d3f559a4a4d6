"""PyTorch as the backend ``torch``: an exported network run from its weights, eagerly, compiled or as a CUDA graph."""

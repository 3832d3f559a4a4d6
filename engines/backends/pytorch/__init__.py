"""The backend ``torch``: an exported network in PyTorch, run eagerly, compiled or as a CUDA graph."""

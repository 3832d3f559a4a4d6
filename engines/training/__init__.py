"""How the networks of this project were trained; needs PyTorch (extra ``torch``)."""

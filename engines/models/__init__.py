"""Networks, one paper a file. A temporal one is two functions: ``backbone`` once a frame, ``head`` once a key frame."""

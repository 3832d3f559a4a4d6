"""One paper, one file. A temporal model is two functions: ``backbone(crops)`` a frame, ``head(window)`` a key frame."""

"""Geometry and decoding in numpy: crops, letterboxes, boxes, heatmaps and windows of frames."""

"""Geometry and decoding on numpy arrays: crops, letterboxes, heatmaps, SimCC."""

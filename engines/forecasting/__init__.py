"""Forecasts of keypoints: where every joint of every person will be a fraction of a second from now."""

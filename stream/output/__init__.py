"""What sinks write: overlays, videos and result files."""

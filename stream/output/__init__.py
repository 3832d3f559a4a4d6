"""Output of sinks: overlays, videos and result files."""

"""Metrics of the lines that run on this host, for Prometheus."""

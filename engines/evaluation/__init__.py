"""Metrics of the field: every number equals that of the official tool."""

"""Pipelines: parsing, linking, negotiating, describing and executing lines of elements."""

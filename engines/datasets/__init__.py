"""Readers of annotated data sets. An error names the broken file and the annotation."""

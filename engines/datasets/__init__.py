"""Annotated data sets as they lie on disk. A broken file names itself and the annotation."""

"""Building blocks that several papers share; each file names the paper it comes from."""

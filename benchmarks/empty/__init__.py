"""Elements that do nothing but pass on what they are given: what is left to measure is the line itself."""

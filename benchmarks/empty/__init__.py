"""Elements without work, to measure the line itself."""

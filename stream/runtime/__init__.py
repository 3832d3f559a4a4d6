"""Processes: the supervisor, the runner of one part, and what they say to each other."""

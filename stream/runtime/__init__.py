"""The processes of a line: the supervisor, the runner of one part, and the bus between them."""

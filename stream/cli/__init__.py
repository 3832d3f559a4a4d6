"""What ``posestream`` can be told to do, one file a command; each imports what it needs when it is called."""

"""Sites: lines of one kind, a camera each, that come and go while the others run."""

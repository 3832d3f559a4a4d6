"""The page that shows running lines in a browser: a process of its own beside them, which only subscribes."""

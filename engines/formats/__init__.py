"""Readers of YAML, JSON and msgpack, with limits on size, depth, aliases and digits: one module for each format.

Whatever comes from outside passes here: files that a user names, and messages that a peer sends. A reader raises
:class:`engines.formats.files.FormatError`, whose text says what is wrong and does not name the file; its caller does.
"""

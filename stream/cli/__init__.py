"""The commands of ``posestream``, one module each; a command imports what it needs when it is called."""

from stream.runtime.import_path import pin_own_packages

pin_own_packages()  # before a command imports anything of ours

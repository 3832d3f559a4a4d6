"""``posestream doctor --gpu``: the whole chain on this machine, from kernel to engine, and a report of it.

A step is a function ``(work, **options) -> Found`` that runs in a process of its own, so that one that crashes, hangs
or breaks the GPU for its process is one line of the report and no more. Nothing here has run on a GPU.
"""

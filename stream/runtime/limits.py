"""The limit of open files, which a line needs more of than some shells give."""

from __future__ import annotations

import sys

from stream.errors import TransportError

_FLOOR, _EACH, _EACH_SHARED = 64, 8, 20
_ENOUGH = 4096


def raise_file_limit(parts: int, shared: int = 0) -> None:
    """Let this process and the parts that it starts open as many files as the system lets it, up to 4,096.

    Raises :class:`TransportError` where a line of so many parts, or a process that ``shared`` parts share, needs more
    than that. A supervisor holds about 20 files and 6 for each part, and a part in a shared process 17; too few of them
    show as anything from a refused socket to a part that never answers.
    """
    if sys.platform == "win32":
        return
    import resource

    now, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = _ENOUGH if highest == resource.RLIM_INFINITY else min(_ENOUGH, highest)
    wanted = _FLOOR + max(_EACH * parts, _EACH_SHARED * shared)
    if now != resource.RLIM_INFINITY and now < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, highest))
        now = possible
    if now != resource.RLIM_INFINITY and now < wanted:
        fewer = ", or have fewer sources_per_process" if shared else ""
        raise TransportError(
            f"the limit of open files of a process is {now}, and a line of {parts} parts needs {wanted}; raise it, as "
            f"with 'ulimit -n {max(1024, wanted)}'{fewer}"
        )

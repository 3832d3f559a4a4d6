"""Faults: signals to one part, to several, to all, and to the supervisor."""

from __future__ import annotations

import contextlib
import os
import signal

from benchmarks.faults.kinds import Fault, Victim, kind, pick_part


def _send(line: Victim, parts: dict[str, int], number: signal.Signals) -> str:
    for part, pid in parts.items():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            if number not in (signal.SIGSTOP, signal.SIGCONT, signal.SIGINT):
                line.note_end_of(part)
    return f"{number.name} to {', '.join(parts)}"


def _pause(line: Victim, parts: dict[str, int], seconds: float) -> str:
    done = _send(line, parts, signal.SIGSTOP)
    line.later(seconds, lambda: _send(line, parts, signal.SIGCONT))
    return f"{done}, SIGCONT after {seconds:.2f} s"


def _one(line: Victim, fault: Fault) -> dict[str, int]:
    return dict([pick_part(line, fault)])


@kind("kill one part", 12, survives=True)
def kill_one(line: Victim, fault: Fault) -> str:
    return _send(line, _one(line, fault), signal.SIGKILL)


@kind("kill a part twice", 4, survives=True)
def kill_twice(line: Victim, fault: Fault) -> str:
    part, pid = pick_part(line, fault)

    def kill_successor() -> None:
        with contextlib.suppress(Exception):
            successor = line.parts().get(part, pid)
            if successor != pid:
                _send(line, {part: successor}, signal.SIGKILL)

    line.later(fault.hold_s, kill_successor)
    return f"{_send(line, {part: pid}, signal.SIGKILL)}, and to its successor after {fault.hold_s:.2f} s"


@kind("kill several parts", 5, survives=True)
def kill_several(line: Victim, fault: Fault) -> str:
    parts = line.parts()
    names = fault.rng.sample(sorted(parts), fault.rng.randint(1, len(parts)))
    return _send(line, {name: parts[name] for name in names}, signal.SIGKILL)


@kind("kill all parts", 3, survives=True)
def kill_all(line: Victim, fault: Fault) -> str:  # noqa: ARG001
    return _send(line, line.parts(), signal.SIGKILL)


@kind("terminate a part", 2, survives=True)
def terminate_one(line: Victim, fault: Fault) -> str:
    return _send(line, _one(line, fault), fault.rng.choice([signal.SIGTERM, signal.SIGHUP]))


@kind("interrupt a part", 2, survives=True)
def interrupt_one(line: Victim, fault: Fault) -> str:
    return _send(line, _one(line, fault), signal.SIGINT)


@kind("crash a part", 3, survives=True)
def crash_one(line: Victim, fault: Fault) -> str:
    return _send(line, _one(line, fault), fault.rng.choice([signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS]))


@kind("stop a part for a while", 5, survives=True)
def pause_one(line: Victim, fault: Fault) -> str:
    return _pause(line, _one(line, fault), fault.hold_s)


@kind("stop a part for good", 2, survives=True)
def stop_one(line: Victim, fault: Fault) -> str:
    parts = _one(line, fault)
    line.note_end_of(next(iter(parts)))  # the supervisor kills it, since it is silent
    return _send(line, parts, signal.SIGSTOP)


@kind("stop all parts for a while", 2, survives=True)
def pause_all(line: Victim, fault: Fault) -> str:
    return _pause(line, line.parts(), fault.hold_s)


@kind("stop the supervisor for a while", 3, survives=True)
def pause_supervisor(line: Victim, fault: Fault) -> str:
    return _pause(line, {"the supervisor": line.supervisor}, fault.rng.choice([fault.hold_s, 5.0]))


@kind("stop everything for a while", 1, survives=True)
def pause_everything(line: Victim, fault: Fault) -> str:
    return _pause(line, {"the supervisor": line.supervisor, **line.parts()}, fault.hold_s)


@kind("kill the supervisor", 3, is_last=True)
def kill_supervisor(line: Victim, fault: Fault) -> str:  # noqa: ARG001
    return _send(line, {"the supervisor": line.supervisor}, signal.SIGKILL)


@kind("end the line", 4, is_last=True)
def end_line(line: Victim, fault: Fault) -> str:
    number = fault.rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    return _send(line, {"the supervisor": line.supervisor}, number)


@kind("end the line and kill a part", 2, is_last=True)
def end_line_and_kill(line: Victim, fault: Fault) -> str:
    parts = _one(line, fault)
    done = end_line(line, fault)
    line.later(fault.hold_s / 3, lambda: _send(line, parts, signal.SIGKILL))
    return f"{done}; SIGKILL to {', '.join(parts)} after {fault.hold_s / 3:.2f} s"

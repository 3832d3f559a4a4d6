"""Lanes and the controller as actors of Ray, the only module that knows it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engines.redaction import redact
from stream.cluster.assignment import Host
from stream.cluster.controller import Controller, Deployment, Status
from stream.cluster.fleet import Run
from stream.cluster.lane import Assignment, Lane, Report
from stream.cluster.membership import Membership
from stream.cluster.node import NAMESPACE
from stream.errors import PosestreamError, TransportError, describe_error
from stream.logs import level_from_environment, logging_to_stderr

_log = logging.getLogger(__name__)

_CONTROLLER = "controller"
_LANE = "lane-"
_TURN_S = 0.2
_ANSWER_S = 10.0
_START_S = 90.0
"""How long a lane may take for its first answer; then it is started again."""

_END_S = 30.0


class LaneActor:
    """A lane in a process of its own; its lines end with it, however it ends."""

    def __init__(self, run: Run, deployment: Deployment, host: str) -> None:
        self._run, self._numbers = run, dict[str, int]()
        self._lane = Lane(run.number, deployment.line, deployment.place, deployment.settings, host)

    def follow(self, turn: int, cameras: Mapping[str, Assignment]) -> Report:
        """See :meth:`stream.cluster.lane.Lane.follow`."""
        self._numbers = {name: given.number for name, given in cameras.items()}
        return self._lane.follow(turn, cameras)

    def describe(self) -> tuple[Run, dict[str, int]]:
        """The run, and the numbers of its cameras."""
        return self._run, self._numbers

    def close(self) -> None:
        """See :meth:`stream.cluster.lane.Lane.close`."""
        self._lane.close()


@dataclass
class _Handle:
    actor: Any
    lane: str
    node: str
    since_s: float
    pending: Any = None
    report: Report | None = None


class RayEngine:
    """Starts lanes as detached actors on the hosts that are named, and asks them in turns."""

    def __init__(self) -> None:
        self._handles: dict[int, _Handle] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._ending: list[tuple[Any, Any, float]] = []
        self._failures: dict[str, str] = {}

    def hosts(self) -> Mapping[str, Host]:
        self._nodes = {}
        for node in ray.nodes():
            if node["Alive"]:
                name = node["NodeName"]
                name = f"{name}@{node['NodeManagerAddress']}" if name in self._nodes else name
                self._nodes[name] = node
        return {
            name: Host(
                node["Resources"].get("CPU", 0.0),
                int(node["Resources"].get("GPU", 0)),
                {key: value for key, value in node["Labels"].items() if not key.startswith("ray.io/")},
            )
            for name, node in self._nodes.items()
        }

    def start(self, run: Run, deployment: Deployment) -> None:
        node = self._nodes[run.host]
        actor = (
            ray.remote(LaneActor)
            .options(
                name=f"{_LANE}{run.number}",
                namespace=NAMESPACE,
                lifetime="detached",
                max_restarts=0,
                num_cpus=run.needs.cpus,
                num_gpus=run.needs.gpus,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote(run, deployment, node["NodeManagerAddress"])
        )
        self._handles[run.number] = _Handle(actor, run.lane, node["NodeID"], time.monotonic())

    def stop(self, run: Run) -> None:
        handle = self._handles.pop(run.number, None)
        if handle is not None:
            self._ending.append((handle.actor, handle.actor.close.remote(), time.monotonic() + _END_S))

    def follow(self, run: Run, turn: int, cameras: Mapping[str, Assignment]) -> bool:
        handle = self._handles.get(run.number)
        if handle is None or handle.pending is not None:
            return False
        handle.pending = handle.actor.follow.remote(turn, cameras)
        return True

    def reports(self) -> Mapping[int, Report | None]:
        alive = {node["NodeID"] for node in self._nodes.values()}
        for number, handle in list(self._handles.items()):
            if handle.node not in alive or not self._collect(number, handle):
                del self._handles[number]
                _kill(handle.actor)
        self._end()
        return {number: handle.report for number, handle in self._handles.items()}

    def _collect(self, number: int, handle: _Handle) -> bool:
        """Take the answer of a lane, if there is one; False where it is gone."""
        if handle.pending is None:
            return True
        done, _ = ray.wait([handle.pending], timeout=0)
        if not done:
            if handle.report is None and time.monotonic() - handle.since_s > _START_S:
                self._fail(number, handle, f"it has not started within {_START_S:g} s")
                return False
            return True
        pending, handle.pending = handle.pending, None
        try:
            handle.report = ray.get(pending)
            self._failures.pop(handle.lane, None)
        except RayActorError as error:
            self._fail(number, handle, _explain(error))
            return False
        except RayError as error:  # the host is not reached at the moment, or an element raised
            _log.warning("lane %d does not answer: %s", number, describe_error(error)[:300])
        return True

    def _fail(self, number: int, handle: _Handle, why: str) -> None:
        _log.warning("%s has ended, which was started as %d: %s", handle.lane, number, why)
        self._failures[handle.lane] = why

    def failures(self) -> Mapping[str, str]:
        return self._failures

    def _end(self) -> None:
        left = []
        for actor, closing, until_s in self._ending:
            if ray.wait([closing], timeout=0)[0] or time.monotonic() > until_s:
                _kill(actor)
            else:
                left.append((actor, closing, until_s))
        self._ending = left

    @property
    def is_ending(self) -> bool:
        """True while lanes that were stopped still run."""
        return bool(self._ending)

    def adopt(self) -> Iterable[tuple[Run, Mapping[str, int]]]:
        self.hosts()
        found: list[tuple[Run, Mapping[str, int]]] = []
        alive = {name: node["NodeID"] for name, node in self._nodes.items()}
        for named in ray.util.list_named_actors(all_namespaces=True):
            if named["namespace"] != NAMESPACE or not named["name"].startswith(_LANE):
                continue
            with contextlib.suppress(ValueError):
                actor = ray.get_actor(named["name"], NAMESPACE)
                try:
                    run, cameras = ray.get(actor.describe.remote(), timeout=_ANSWER_S)
                except (RayError, GetTimeoutError):
                    _kill(actor)
                    continue
                if run.host in alive:
                    self._handles[run.number] = _Handle(actor, run.lane, alive[run.host], time.monotonic())
                    found.append((run, cameras))
        return found


def _explain(error: RayActorError) -> str:
    """Why an actor has ended: the last line of what Ray says, which is the error that was raised, if one was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return redact(lines[-1]).removeprefix("stream.errors.")[:300]


def _kill(actor: Any) -> None:
    with contextlib.suppress(RayError, ValueError):
        ray.kill(actor)


class ControllerActor:
    """The controller in a process of its own, on the head; Ray starts it again if it ends."""

    def __init__(self, state: str) -> None:
        # Ray keeps what an actor writes to stderr among its logs.
        self._logging = contextlib.ExitStack()
        self._logging.enter_context(logging_to_stderr(min(level_from_environment(), logging.INFO)))
        self._engine = RayEngine()
        self._controller = Controller(self._engine, Path(state))
        self._is_ending = threading.Event()
        self._trouble = ""
        threading.Thread(target=self._run, name="controller", daemon=True).start()

    def node(self) -> str:
        """The id of the host that it runs on."""
        return str(ray.get_runtime_context().get_node_id())

    def deploy(self, name: str, deployment: Deployment) -> None:
        """See :meth:`stream.cluster.controller.Controller.deploy`."""
        self._controller.deploy(name, deployment)

    def withdraw(self, name: str) -> None:
        """See :meth:`stream.cluster.controller.Controller.withdraw`."""
        self._controller.withdraw(name)

    def drain(self, host: str, is_drained: bool) -> None:
        """See :meth:`stream.cluster.controller.Controller.drain`."""
        self._controller.drain(host, is_drained=is_drained)

    def status(self) -> Status:
        """As of the last turn."""
        from dataclasses import replace

        return replace(self._controller.status, trouble=self._trouble)

    def end(self) -> None:
        """Let all lanes drain and end; returns when they have."""
        self._is_ending.set()
        until_s = time.monotonic() + _END_S
        while time.monotonic() < until_s:
            self._controller.end()
            if self._controller.is_idle and not self._engine.is_ending:
                return
            time.sleep(_TURN_S)

    def _run(self) -> None:
        while not self._is_ending.wait(_TURN_S):
            try:
                self._controller.turn()
                self._trouble = ""
            except Exception as error:  # noqa: BLE001 - it is shown by 'status', and tried again
                self._trouble = describe_error(error)
                _log.exception("a turn has failed")


@contextlib.contextmanager
def connected(membership: Membership) -> Iterator[None]:
    """Connect this process to the cluster. Raises :class:`TransportError` where that is not possible."""
    with _keeping_handlers():
        try:
            with _silent_stderr():
                ray.init(
                    address=membership.head,
                    namespace=NAMESPACE,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                )
        except Exception as error:  # noqa: BLE001 - Ray raises many kinds
            why = describe_error(error).splitlines()[0][:200]
            raise TransportError(
                f"the head at {membership.head} does not answer: {why}; see that 'posestream cluster up' runs there, "
                "and that its token is here"
            ) from None
    with _keeping_handlers():
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _keeping_handlers() -> Iterator[None]:
    """Put our handlers of signals back, in whose place Ray puts its own, and at its end the system's."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep off stderr what Ray's native code writes about attempts that it makes again; a failure is raised as well."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def start_controller(state: Path) -> str:
    """Start the controller on this host, or find it; returns the address of this host."""
    own = ray.get_runtime_context().get_node_id()
    actor = (
        ray.remote(ControllerActor)
        .options(
            name=_CONTROLLER,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=8,
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(own, soft=False),
        )
        .remote(str(state))
    )
    _ask(actor.node.remote(), _START_S)
    return next(str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] == own)


class ControllerClient:
    """The controller of the cluster that this process is connected to. Raises :class:`TransportError` where there is
    none, and what the controller raises."""

    def __init__(self) -> None:
        try:
            self._actor = ray.get_actor(_CONTROLLER, NAMESPACE)
        except ValueError:
            raise TransportError("the cluster has no controller; start its head again: posestream cluster up") from None

    @property
    def is_here(self) -> bool:
        """True where the controller runs on this host."""
        return bool(_ask(self._actor.node.remote()) == ray.get_runtime_context().get_node_id())

    def deploy(self, name: str, deployment: Deployment) -> None:
        """Run a site."""
        _ask(self._actor.deploy.remote(name, deployment))

    def withdraw(self, name: str) -> None:
        """Drain the cameras of a site."""
        _ask(self._actor.withdraw.remote(name))

    def drain(self, host: str, *, is_drained: bool) -> None:
        """Move the cameras away from a host, or place some there again."""
        _ask(self._actor.drain.remote(host, is_drained))

    def status(self) -> Status:
        """The cluster as of the controller's last turn."""
        found: Status = _ask(self._actor.status.remote())
        return found

    def end(self, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Let all lanes drain and end; it is not waited for any longer once it ``is_urgent``."""
        answer, until_s = self._actor.end.remote(), time.monotonic() + 2 * _END_S
        while not ray.wait([answer], timeout=_TURN_S)[0]:
            if is_urgent() or time.monotonic() > until_s:
                return
        _ask(answer)


def _ask(answer: Any, timeout_s: float = _ANSWER_S) -> Any:
    try:
        return ray.get(answer, timeout=timeout_s)
    except PosestreamError:
        raise
    except (RayError, GetTimeoutError) as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, PosestreamError):
            raise cause from None
        raise TransportError(
            f"the controller does not answer: {describe_error(error)[-300:]}; 'posestream cluster up' starts it again"
        ) from None

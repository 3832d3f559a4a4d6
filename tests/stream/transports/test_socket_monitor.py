"""Why a connection was refused, from events, without sockets."""

from __future__ import annotations

import errno

import pytest
import zmq

from stream.transports.socket_monitor import GIVEN_UP_S, ConnectionState

MISMATCH = zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
CONNECTED, FAILED, LOST = zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_DISCONNECTED
ESTABLISHED, RETRIED = zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_CONNECT_RETRIED
PROTOCOL, AUTH = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_AUTH


def make_state(*events: int | tuple[int, int], has_keys: bool = False) -> ConnectionState:
    """The state after events, which have a kind or a kind and a value, at second 1."""
    state = ConnectionState(has_keys=has_keys)
    for event in events:
        kind, value = event if isinstance(event, tuple) else (event, 0)
        state.take(kind, value, 1.0)
    return state


@pytest.mark.parametrize(
    ("events", "has_keys", "refusal"),
    [
        ([(FAILED, errno.EPIPE)], False, "it closes the connection: it is no keypointsink, requires CURVE keys"),
        ([(FAILED, errno.EPIPE)], True, "it closes the connection: it is no keypointsink, refuses these keys"),
        ([(FAILED, errno.EAGAIN)], False, "it accepts connections but does not answer; check the address"),
        ([(PROTOCOL, MISMATCH)], False, "it requires CURVE keys; give server_key= (its .key file)"),
        ([(PROTOCOL, MISMATCH)], True, "it uses no keys; leave out server_key= and client_key="),
        ([(PROTOCOL, 1)], False, "what listens there is no keypointsink; check the address"),
        ([(AUTH, 400)], True, "it does not know this key; put the public key into its clients= folder, or"),
        ([(FAILED, errno.EPIPE), CONNECTED, ESTABLISHED], False, ""),
        ([(FAILED, errno.EPIPE), zmq.EVENT_CLOSED], False, ""),
    ],
)
def test_a_failed_handshake_has_a_reason_until_a_connection_succeeds(
    events: list[int | tuple[int, int]], has_keys: bool, refusal: str
) -> None:
    found = make_state(CONNECTED, *events, has_keys=has_keys).refusal
    assert found.startswith(refusal)
    assert bool(found) == bool(refusal)


@pytest.mark.parametrize(
    ("events", "given_up", "refusal"),
    [
        ([CONNECTED, ESTABLISHED], False, ""),
        ([CONNECTED, ESTABLISHED, LOST, RETRIED], False, ""),
        (
            [CONNECTED, ESTABLISHED, LOST],
            True,
            "it sent what this protocol forbids, such as a message that is too long",
        ),
        ([CONNECTED, LOST], True, "what listens there is no keypointsink; check the address"),
        ([CONNECTED, (AUTH, 400), LOST], True, "it does not know this key"),
        ([CONNECTED, ESTABLISHED, LOST, RETRIED, CONNECTED, LOST], True, "what listens there is no keypointsink"),
    ],
)
def test_a_connection_is_given_up_if_it_is_lost_and_not_tried_again(
    events: list[int | tuple[int, int]], given_up: bool, refusal: str
) -> None:
    state = make_state(*events)
    assert not state.is_given_up(1.0)
    assert state.is_given_up(1.0 + GIVEN_UP_S) == given_up
    assert state.refusal.startswith(refusal)
    assert bool(state.refusal) == bool(refusal)

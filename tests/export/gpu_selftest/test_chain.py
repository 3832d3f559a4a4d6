"""Order, independence and interruption of a chain, without processes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from export.gpu_selftest import chain
from export.gpu_selftest.chain import Outcome, Step, skip
from export.gpu_selftest.results import Result, State
from export.gpu_selftest.steps import CHAIN

STEPS = (
    Step("a", "A", "x:a"),
    Step("b", "B", "x:b"),
    Step("c", "C", "x:c", ("a",)),
    Step("d", "D", "x:d", ("c", "b")),
    Step("e", "E", "x:e", ("b",)),
)


def attempting(states: dict[str, State], tried: list[str]) -> Callable[[Step], Result]:
    def attempt(step: Step) -> Result:
        tried.append(step.name)
        return msgspec.structs.replace(skip(step, "tried"), state=states.get(step.name, "ok"))

    return attempt


def test_steps_are_tried_in_order_and_each_is_reported_as_it_ends() -> None:
    tried: list[str] = []
    received: list[str] = []
    outcome = chain.run_steps(STEPS, attempting({}, tried), lambda result: received.append(result.step))
    assert tried == received == ["a", "b", "c", "d", "e"]
    assert outcome.passed("a", "e")


@pytest.mark.parametrize("state", ["failed", "not run"])
def test_a_step_that_did_not_pass_stops_those_that_need_it_and_no_others(state: State) -> None:
    tried: list[str] = []
    outcome = chain.run_steps(STEPS, attempting({"a": state}, tried))
    assert tried == ["a", "b", "e"]
    assert [result.state for result in outcome.results] == [state, "ok", "not run", "not run", "ok"]


def test_what_is_skipped_says_the_step_that_has_to_be_mended_however_far_back() -> None:
    results = {result.step: result for result in chain.run_steps(STEPS, attempting({"a": "failed"}, [])).results}
    assert results["c"].message == results["d"].message == "needs 'A', which failed"


def test_a_failure_is_no_pass_and_what_was_not_run_is_one_unless_it_was_wanted() -> None:
    assert not chain.run_steps(STEPS, attempting({"e": "failed"}, [])).passed()
    outcome = chain.run_steps(STEPS, attempting({"e": "not run"}, []))
    assert outcome.passed("a")
    assert not outcome.passed("e")


def test_ctrl_c_keeps_what_is_known_and_names_what_was_not_begun() -> None:
    def attempt(step: Step) -> Result:
        if step.name == "c":
            raise KeyboardInterrupt
        return msgspec.structs.replace(skip(step, "tried"), state="ok")

    outcome = chain.run_steps(STEPS, attempt)
    assert outcome.interrupted
    assert not outcome.passed()
    assert [(result.state, result.message) for result in outcome.results] == [
        ("ok", "tried"),
        ("ok", "tried"),
        *[("not run", "interrupted")] * 3,
    ]


def test_every_step_of_the_real_chain_needs_only_steps_before_it_and_names_a_function_that_is_there() -> None:
    pytest.importorskip("torch")
    from export.gpu_selftest.child import _load_function

    before: set[str] = set()
    for step in CHAIN:
        assert before.issuperset(step.needs), step
        assert step.name not in before
        assert callable(_load_function(step.call))
        before.add(step.name)


def test_without_a_gpu_nothing_is_tried_that_needs_one() -> None:
    tried: list[str] = []
    chain.run_steps(CHAIN, attempting({"gpu": "not run"}, tried))
    assert tried == ["machine", "gpu", "kernel", "export-fp32", "export-fp16"]


def test_without_tensorrt_all_of_pytorch_is_still_tried() -> None:
    tried: list[str] = []
    outcome = chain.run_steps(CHAIN, attempting({"tensorrt": "not run"}, tried))
    assert {"kernel-exact", "kernel-speed", "torch-agrees", "speed-torch"} <= set(tried)
    assert outcome.passed("gpu")
    assert outcome.count("not run") == 9


def test_a_kernel_that_does_not_compile_leaves_nvidias_route() -> None:
    tried: list[str] = []
    chain.run_steps(CHAIN, attempting({"kernel": "failed"}, tried))
    assert "engine-fp16-nvidia" in tried
    assert "engine-fp16-fused" not in tried


def test_an_empty_outcome_passes_nothing_that_was_wanted() -> None:
    assert not Outcome(()).passed("gpu")

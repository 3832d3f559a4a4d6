"""Hosts die, are cut off, drained and added, lanes and cameras come and go: each camera runs once, or has to wait."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream.cluster.assignment import Host
from stream.cluster.fleet import Fleet, Give, Run, Start, Take
from tests.stream.cluster.world import World

SIX = [f"camera-{n}" for n in range(6)]


def make_world(lanes: int = 3, cameras: list[str] = SIX) -> World:
    world = World(["a", "b", "c"])
    world.want(cameras, lanes)
    world.settle()
    return world


def test_cameras_are_spread_over_lanes_and_lanes_over_hosts() -> None:
    assert Counter(make_world().where().values()) == {"a": 2, "b": 2, "c": 2}


def test_the_cameras_of_a_dead_host_are_given_to_others_at_once_and_no_other_moves() -> None:
    world = make_world()
    before = world.where()
    world.kill("b")
    given = [order for order in world.turn() if isinstance(order, Give)]
    assert {order.camera for order in given} == {camera for camera, host in before.items() if host == "b"}
    world.settle()
    assert {camera for camera, host in world.where().items() if before[camera] != host} == {
        order.camera for order in given
    }


def test_a_host_that_comes_back_publishes_nothing_under_its_old_number() -> None:
    world = make_world()
    lost = {camera for camera, host in world.where().items() if host == "b"}
    world.kill("b", is_cut_off=True)
    world.settle()
    world.admitted.clear()
    world.publish(world.lost)
    assert {camera for lane in world.lost for camera in lane.cameras} == lost
    assert world.admitted == []


def test_a_drained_host_gives_its_cameras_one_at_a_time_after_they_have_drained() -> None:
    world = make_world()
    world.drain("c")
    moved: list[str] = []
    for _ in range(40):
        world.step()
        orders = world.turn()
        taken = [order.camera for order in orders if isinstance(order, Take)]
        assert len(taken) <= 1
        if moved and taken:
            camera = moved[-1]
            assert any(camera in lane.settled for lane in world.lanes.values()), "the last one does not run yet"
        moved += taken
        for order in orders:
            if isinstance(order, Give):
                assert any(camera == order.camera for camera, _ in world.drained)
    assert len(moved) == 2
    assert set(world.where().values()) == {"a", "b"}
    assert all(lane.run.host != "c" for lane in world.lanes.values())


def test_a_camera_that_takes_long_to_drain_is_given_to_no_other_before() -> None:
    world = make_world()
    world.drain("c")
    world.step()
    world.turn()  # lanes are started
    for lane in world.lanes.values():
        lane.is_ready = True
    (order,) = [order for order in world.turn() if isinstance(order, Take)]
    assert all(world.turn() == [] for _ in range(5))
    world.step()
    (given,) = [order for order in world.turn() if isinstance(order, Give)]
    assert given.camera == order.camera


def test_cameras_stay_on_a_drained_host_while_there_is_no_other() -> None:
    world = make_world()
    for host in "abc":
        world.drain(host)
    world.settle()
    assert len(world.where()) == 6
    assert set(world.fleet.waiting) == {"site/1", "site/2", "site/3"}
    world.hosts["d"] = Host(4)
    world.settle()
    assert set(world.where().values()) == {"d"}
    assert not world.fleet.waiting


def test_a_lane_without_room_waits_and_says_why() -> None:
    world = World(["a"], cpus=2)
    world.want(SIX, lanes=3)
    world.settle()
    (reason,) = world.fleet.waiting.values()
    assert "no room for 1 CPUs" in reason
    assert len(world.where()) == 4


def test_one_more_lane_takes_its_share_one_camera_at_a_time() -> None:
    world = make_world(lanes=2)
    world.want(SIX, lanes=3)
    orders = []
    for _ in range(20):
        world.step()
        orders.append(world.turn())
    assert max(sum(isinstance(order, Take) for order in one) for one in orders) == 1
    assert sum(isinstance(order, Take) for one in orders for order in one) == 2


def test_a_lane_less_moves_its_cameras_and_ends() -> None:
    world = make_world()
    world.want(SIX, lanes=2)
    world.settle()
    assert len(world.lanes) == 2
    assert len(world.where()) == 6


def test_cameras_that_are_added_and_removed_concern_no_other() -> None:
    world = make_world()
    before = world.where()
    world.want([*SIX[1:], "new", "newer"], lanes=3)
    world.settle()
    after = world.where()
    assert set(after) - set(before) == {"site/new", "site/newer"}
    assert set(before) - set(after) == {"site/camera-0"}
    assert all(after[camera] == before[camera] for camera in before.keys() & after.keys())


def test_a_site_that_is_withdrawn_ends_and_leaves_the_others_alone() -> None:
    world = make_world()
    world.want(["other"], lanes=1, site="another")
    world.settle()
    del world.wanted["site"]
    world.settle()
    assert set(world.where()) == {"another/other"}
    assert len(world.lanes) == 1


def test_a_controller_that_was_restarted_goes_on_with_what_runs() -> None:
    world = make_world()
    numbers = max(number for lane in world.lanes.values() for number in lane.cameras.values())
    world.fleet = Fleet(iter(range(numbers + 1000, numbers + 2000)).__next__)
    for lane in world.lanes.values():
        world.fleet.adopt(lane.run, lane.cameras)
    assert world.turn() == []
    world.kill("a")
    world.settle()
    assert len(world.where()) == 6


def test_a_camera_that_two_runs_have_belongs_to_the_one_with_the_higher_number() -> None:
    world = make_world()
    one, other = list(world.lanes.values())[:2]
    camera, number = next(iter(one.cameras.items()))
    fleet = Fleet(iter(range(1000, 2000)).__next__)
    fleet.adopt(other.run, {camera: number + 50})
    fleet.adopt(one.run, {camera: number})
    assert fleet.cameras_of(other.run) == {camera: number + 50}
    assert fleet.cameras_of(one.run) == {}


def test_orders_name_the_run_that_is_started() -> None:
    world = World(["a"])
    world.want(["hall"], lanes=1)
    start, give = world.turn()
    assert isinstance(start, Start)
    assert start.run == Run(1, "site", "site/1", "a", start.run.needs)
    assert give == Give(start.run, "site/hall", 2)


class Faults(RuleBasedStateMachine):
    """Any sequence of faults and changes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(["a", "b"], cpus=2)
        self.cameras = {"hall"}
        self.lanes = 1

    @rule(name=st.sampled_from("abcde"))
    def join(self, name: str) -> None:
        self.world.hosts.setdefault(name, Host(2))

    @rule(name=st.sampled_from("abcde"), is_cut_off=st.booleans())
    def die(self, name: str, is_cut_off: bool) -> None:
        self.world.kill(name, is_cut_off=is_cut_off)

    @rule(name=st.sampled_from("abcde"))
    def drain(self, name: str) -> None:
        if name in self.world.hosts:
            self.world.drain(name)

    @rule(camera=st.sampled_from("klmnopqrst"))
    def change(self, camera: str) -> None:
        self.cameras ^= {camera}

    @rule(lanes=st.integers(1, 6))
    def scale(self, lanes: int) -> None:
        self.lanes = lanes

    @rule(number=st.integers(0, 5))
    def lose_lane(self, number: int) -> None:
        if self.world.lanes:
            del self.world.lanes[sorted(self.world.lanes)[number % len(self.world.lanes)]]

    @rule()
    def turn(self) -> None:
        self.world.want(self.cameras, self.lanes, most=4)
        self.world.turn()
        moved = [
            camera
            for camera, place in self.world.fleet.places.items()
            if place.is_draining and camera in self.world.wanted["site"].cameras
        ]
        # One that is taken, and any that were removed and added again while they drained.
        assert sum(isinstance(order, Take) and order.camera in moved for order in self.world.orders) <= 1

    @rule()
    def step(self) -> None:
        self.world.step()

    @rule()
    def rest(self) -> None:
        """Long enough for everything to start."""
        for _ in range(4):
            self.turn()
            self.step()

    @rule()
    def come_back(self) -> None:
        """Those that were cut off publish what they have, and end."""
        known = dict(self.world.fence._highest)
        self.world.publish(self.world.lost)
        assert all(known.get(camera, 0) <= number for camera, number in self.world.admitted[-1:])
        self.world.lost.clear()

    @invariant()
    def no_camera_runs_twice(self) -> None:
        running = Counter(camera for lane in self.world.lanes.values() for camera in lane.cameras)
        assert all(count == 1 for count in running.values()), running

    @invariant()
    def numbers_rise(self) -> None:
        for camera in {camera for camera, _ in self.world.admitted}:
            numbers = [number for name, number in self.world.admitted if name == camera]
            assert numbers == sorted(numbers)

    def teardown(self) -> None:
        self.world.want(self.cameras, self.lanes, most=4)
        self.world.settle()
        wanted = {f"site/{camera}" for camera in self.cameras}
        running = self.world.where()
        assert set(running) <= wanted
        if not self.world.fleet.waiting:
            assert len(running) == min(len(wanted), 4 * self.lanes)


TestFaults = Faults.TestCase
TestFaults.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

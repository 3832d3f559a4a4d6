"""Publish the keypoints of a line as a ROS 2 node: ``python docs/clients/ros2.py ADDRESS``. Not tested with ROS 2."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from posestream import PoseMessage, Subscriber


def fill(array: Any, message: PoseMessage, make_pose: Callable[[], Any]) -> Any:
    """Fill a ``geometry_msgs/PoseArray`` with the joints of all people: x px, y px, and the score as z."""
    array.header.frame_id = message.camera
    array.header.stamp.sec, array.header.stamp.nanosec = divmod(message.wall_ns, 1_000_000_000)
    for person in message.people:
        for x, y, score in person.keypoints.tolist():
            pose = make_pose()
            pose.position.x, pose.position.y, pose.position.z = x, y, score
            array.poses.append(pose)
    return array


def main() -> None:
    """Publish each camera on a topic of its own, until ROS ends the node."""
    import rclpy
    from geometry_msgs.msg import Pose, PoseArray

    rclpy.init()
    node = rclpy.create_node("posestream")
    publishers: dict[str, Any] = {}
    with Subscriber(*sys.argv[1:2]) as subscriber:
        while rclpy.ok():
            message = subscriber.poll(0.1)
            if message is None:
                continue
            if message.camera not in publishers:
                topic = "posestream/" + re.sub(r"\W", "_", message.camera)
                publishers[message.camera] = node.create_publisher(PoseArray, topic, 10)
            publishers[message.camera].publish(fill(PoseArray(), message, Pose))


if __name__ == "__main__":
    main()

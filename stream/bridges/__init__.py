"""Bridges: subscribers that pass keypoints on to MQTT, Kafka, OSC and WebSocket.

A bridge is a process of its own beside a line. What is slow or away beyond it costs the line nothing: messages wait in
a bounded buffer of the bridge, which says what it dropped.
"""

"""The keypoint protocol: messages, their sequence numbers, and the subscriber."""

"""posestream's line: ingest live video, estimate everybody's pose, publish keypoints."""

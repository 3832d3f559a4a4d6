"""Running networks on frames: detectors, and pose engines over windows of frames or over single frames."""

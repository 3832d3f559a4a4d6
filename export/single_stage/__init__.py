"""Export of networks that find people and keypoints in whole pictures (InsPose)."""

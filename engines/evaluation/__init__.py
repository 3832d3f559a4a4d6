"""How good keypoints are, by the yardsticks of the field: every number equals that of the official tool."""

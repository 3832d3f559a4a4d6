"""Live evaluation: the score of a line's keypoints in real time, beside their score offline.

``line_variants`` derives a live and an offline line from the user's line; ``runs`` runs them; ``alignment`` assigns the
live messages to frames; ``ground_truth`` and ``scorers`` score; ``live`` combines these, and ``report`` prints.
"""

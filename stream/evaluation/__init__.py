"""Live evaluation: what a line's keypoints are worth while the world goes on, beside what they are worth at leisure.

``lines`` makes two lines of the user's, one that is in time and one that drops nothing; ``runs`` runs them; ``joining``
says which frame each answer is about; ``truths`` judges; ``live`` does all of it and ``report`` tells.
"""

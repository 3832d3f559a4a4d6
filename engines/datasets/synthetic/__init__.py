"""Synthetic people: articulated figures that walk, wave and cross, rendered from a seed with exact ground truth.

:class:`scene.Scene` is the entry point. ``paths`` and ``motion`` give positions and joint angles, ``body`` the joints
in 3D, ``appearance`` the clothes, ``figure`` the outlines of limbs, ``backdrop`` and ``foreground`` the surroundings,
and ``render`` the pixels.
"""

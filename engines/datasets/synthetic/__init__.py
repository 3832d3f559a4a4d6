"""Synthetic people: articulated figures that walk, wave and cross, drawn from a seed, with exact truth.

``scene.Scene`` is the door; ``body`` bends the limbs, ``motion`` decides how, ``paths`` where to, ``looks`` what they
wear, ``figure`` turns limbs into outlines, ``backdrop`` stands behind them and ``render`` draws.
"""

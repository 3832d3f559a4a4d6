"""Rendezvous hashing: the same choice on every machine, which few changes of the candidates change.

Each pair of a key and a candidate has a score; a key takes the candidate that scores highest. Without that candidate,
it takes the next one, and no other key is concerned (Thaler and Ravishankar, 1998).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_ODD = 0x9E3779B97F4A7C15
_SHIFTS_AND_FACTORS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def hash_name(name: str) -> int:
    """A hash of 64 bits that is the same in every process.

    >>> hash_name("hall") == hash_name("hall") != hash_name("yard")
    True
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def hash_names(names: Iterable[str]) -> NDArray[np.uint64]:
    """The hashes of ``names``, in their order."""
    return np.array([hash_name(name) for name in names], np.uint64)


def score(key: int, candidates: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The score of each candidate (N) for a ``key``; both are hashes.

    The mixing is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
    """
    mixed = candidates ^ np.uint64((key * _ODD) % 2**64)  # so that a key that is called as a candidate is as any other
    for shift, factor in _SHIFTS_AND_FACTORS:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def weigh(scores: NDArray[np.uint64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores by which each candidate is the highest as often as its weight is a part of all weights; at least 0."""
    uniform = ((scores >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    return weights / -np.log(uniform)

"""Pseudo-random numbers that depend on nothing but whole numbers: the same on every machine and in every order."""

from __future__ import annotations

from random import Random

_MASK = (1 << 64) - 1


def mix(*parts: int) -> int:
    """64 well-mixed bits of the parts (splitmix64, chained). Not for secrets."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part & _MASK)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


def stream(*parts: int) -> Random:
    """A generator of its own for the thing that the parts name."""
    return Random(mix(*parts))  # noqa: S311 - made-up people, not keys


def spread(index: int, size: int, multiplier: int, offset: int) -> int:
    """Where `index` goes in a one-to-one shuffle of range(size); `multiplier` must have no factor in common with `size`."""
    return (index * multiplier + offset) % size

"""The made-up district: people, households, flats and firms that agree with each other across all registers.

Everything follows from a seed and an index, so it can be made again, in part or as a stream of any length in bounded memory.
It calls nothing but exchange's check digits; it must never be mixed with records of real people.
"""

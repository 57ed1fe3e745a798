"""The append-only record: the release fence, the Merkle log, its proofs, search, and the list each person may ask for.

It calls `exchange` only. It must never change or remove an entry, and never say that something is recorded before it is on
the disk.
"""

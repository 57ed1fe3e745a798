"""Proofs, against the real things."""

"""Corrections: a consumer tells a provider that a record is wrong, and both see what comes of it, within a term.

It may call the rest of the registry. What is said about a person stays between the two; neither the log nor a list repeats it.
"""

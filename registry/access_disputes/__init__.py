"""Disputes of an access: a person asks why an entry of their list came about, and the department that answered explains it.

It may call the rest of the registry. The audit vouches that the entry is about the person who is logged in.
"""

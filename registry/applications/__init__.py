"""Sharing applications: a department asks for data, and everybody sees who must act, until when, and why it ended as it did.

It may call the rest of the registry. It must never give what the provider has not signed, nor refuse without a reason.
"""

"""The incident switch: one act that stops what something stands on, and the public word on why and what it touched.

It may call the rest of the registry and identity. It must never hold a name of a person, nor lift what it has stopped.
"""

"""The life cycle of what is registered: every new entry, and every new version of one, is a filing that two people have seen.

It may call the rest of the registry. It must never let what one person wrote count by that person's word alone.
"""

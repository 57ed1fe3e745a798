"""What the adapter is told and how it is told it: the declaration of a back end, its expressions, its values, its address.

It may call what `departments` may. It must never reach an address that its declaration does not pin, nor read from an answer
what was not asked for.
"""

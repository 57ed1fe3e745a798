"""The providers: one runtime, five departments of declarations, and the adapter for systems that exist already.

It may call `registry`, `identity`, `audit` and `exchange`. It must never trust the gateway alone, nor let a full value that
nobody may see leave its department.
"""

"""不动产登记: who owns which flat, and what lies on it.

Declarations and the mapping of made-up records only; the runtime and the reader are shared by all departments.
It may use `departments.model` and `exchange`. It must never hold a reader, a mask or a runtime of its own.
"""

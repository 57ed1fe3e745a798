"""市场监管: licences of firms and who represents them.

Declarations and the mapping of made-up records only; the runtime and the reader are shared by all departments.
It may use `departments.model` and `exchange`. It must never hold a reader, a mask or a runtime of its own.
"""

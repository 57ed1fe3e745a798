"""公安: who is resident in the district, and in which household.

Declarations and the mapping of made-up records only; the runtime and the reader are shared by all departments.
It may use `departments.model` and `exchange`. It must never hold a reader, a mask or a runtime of its own.
"""

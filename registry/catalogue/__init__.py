"""政务数据目录: what a data set holds, who answers for it, how fresh it is, on which terms, and what changes between versions.

It may call the rest of the registry. An entry is filed with its data set and found here; it must never decide about access.
"""

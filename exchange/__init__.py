"""The language all parts share: identifiers, signatures, records, problems, the clock, the bus and its subjects.

It calls nobody and may be imported by every package, module by module. It must never know a department, a rule about who
may see what, or a table of any service.
"""

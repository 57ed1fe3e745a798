"""Terms that everybody can see: working days, the policy table, and the deadlines that run on what waits for somebody.

It may call exchange, and the registry's journal. It must never decide anything by itself: a term that runs out is told, no more.
"""

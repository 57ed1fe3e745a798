"""Who may ask whom for what: members, systems, services, applications, access rights, and the signed snapshot of them.

It may call `identity`, `audit` and `exchange`. It must never see the data that is exchanged, nor stand in the way of a
request: gateways live on its snapshot.
"""

"""PostgreSQL as the exchange runs it: roles, databases, schemas.

It calls `exchange` only. It must never hold a table of a service: those are the services' own migrations.
"""

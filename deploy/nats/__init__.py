"""NATS as the exchange runs it: the server's configuration and who may say and hear what.

It calls `exchange` only. It must never give a user more than its component needs.
"""

"""The one door that data leaves through: it verifies, decides, masks and records, and only then releases.

It may call every package below it. It must never obtain or invent a value, hold state that a second gateway would need, or
send a byte whose release is not recorded.
"""

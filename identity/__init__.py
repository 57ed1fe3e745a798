"""Who is speaking, and what people have allowed: keys with their certificates, development log-in, consents.

It may call `audit.client` and `exchange`, and nothing above. It must never let a person's id leave in clear, and never
acknowledge a withdrawal or a revocation that does not stand in the audit's fence.
"""

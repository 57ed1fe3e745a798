"""The conformance check: a service that is to be published, run in the sandbox and asked everything a consumer could ask.

It may call every package's client. It must never touch anything but the sandbox: the registry reads what it signs, no more.
"""

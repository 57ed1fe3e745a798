"""Deliveries of events: from the publishers' streams to the subscribers, each with its own numbers.

This package takes events in, keeps subscriptions and numbers what they get. It must never show an event to anybody: that
is `gateway.deliver`, which decides, masks and places each transmission in the log.
"""

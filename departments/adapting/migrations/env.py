"""Alembic's entry: the one environment of the exchange."""

from exchange.migrate import run_environment

run_environment()

"""Alembic's entry point for the schema `registry`."""

from exchange.migrate import run_environment

run_environment()

"""Alembic's entry point for the schema `audit`."""

from exchange.migrate import run_environment

run_environment()

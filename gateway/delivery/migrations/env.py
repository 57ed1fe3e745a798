"""Alembic's entry point for the schema `identity`."""

from exchange.migrate import run_environment

run_environment()

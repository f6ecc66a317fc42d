"""Alembic's folder: env.py and the migrations, shipped in the wheel."""

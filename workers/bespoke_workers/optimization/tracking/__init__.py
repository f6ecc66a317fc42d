"""Telling an MLflow server of runs that have ended."""

"""Seeing what happens: events, and log lines that name the job and hide its contents."""

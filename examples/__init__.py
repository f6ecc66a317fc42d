"""Example applications, and the demo."""

from tests.integration.stores import opened

__all__ = ["opened"]

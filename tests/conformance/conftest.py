"""Data planes as the tests of the proxy start them."""

from tests.proxy.conftest import Launch, frozen, harness, launch

__all__ = ["Launch", "frozen", "harness", "launch"]

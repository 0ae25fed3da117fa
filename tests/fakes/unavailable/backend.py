"""A backend whose device is missing."""

from __future__ import annotations

from fakes.good import backend as good

from harness.contract import Device, Unavailable


class Backend(good.Backend):
    """Implements `harness.contract.Backend`."""

    def probe(self) -> Device:
        raise Unavailable("Expected a Fake 1 in slot 3, found none.", "plug one in.")

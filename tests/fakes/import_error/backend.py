"""A backend whose SDK is not installed."""

import fake_sdk_that_nobody_has  # type: ignore[import-not-found]  # noqa: F401

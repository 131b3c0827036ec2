"""A browser of Chromium's family, which tests use where the machine has one; none is installed."""

import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")


def browser() -> str:
    """Return the path of a browser, or skip the test."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium was found, so no page was drawn: install it (Debian, Ubuntu: apt install chromium)")
    return found

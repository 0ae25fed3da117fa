"""Headless Chromium with one page, in a folder and a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from backends._shared import vulkan
from backends.webgpu_browser.page_server import PageServer
from harness.contract import Unavailable

#: Names of the browser on different systems.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FLAGS = (
    "--headless",
    "--no-first-run",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan",
)


def executable() -> str:
    """The path of the browser.

    Raises:
        Unavailable: there is none.
    """
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise Unavailable(
        f"expected a browser as {', '.join(NAMES)} on the path, found none.",
        "`apt-get install chromium`.",
    )


def flags(*, has_gpu: bool, is_root: bool) -> list[str]:
    """Command-line flags: SwiftShader without a GPU, and no sandbox for root, as Chromium asks."""
    made = list(FLAGS)
    if not has_gpu:
        made.append("--use-webgpu-adapter=swiftshader")
    if is_root:
        made.append("--no-sandbox")
    return made


def has_gpu() -> bool:
    """Whether Vulkan lists a GPU."""
    try:
        return any(not each.is_processor for each in vulkan.physical_devices(vulkan.load()))
    except Unavailable:
        return False


class Browser:
    """A browser that has opened a server's page.

    Args:
        files: the name of each file that the page loads -> its path.
        command: the browser and its flags; the page's address comes last.
    """

    def __init__(self, files: Mapping[str, Path], command: Sequence[str]) -> None:
        self.server = PageServer(files)
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [*command, f"--user-data-dir={self._folder.name}", self.server.address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """End the browser and the server."""
        self.process.kill()
        self.process.wait()
        self.server.close()
        self._folder.cleanup()

    def kill_page(self) -> None:
        """Kill the page's process: a fault to try."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            if "--type=renderer" in process.cmdline():
                process.send_signal(signal.SIGKILL)

    def _watch(self) -> None:
        code = self.process.wait()
        self.server.page_is_gone(f"the browser has ended with exit code {code}")


def command() -> list[str]:
    """The browser of this machine and its flags.

    Raises:
        Unavailable: there is none.
    """
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [executable(), *flags(has_gpu=has_gpu(), is_root=is_root)]

"""Plugin execution providers: libraries beside ONNX Runtime that run graphs on a vendor's device.

Every way of falling back in silence is closed: the constructor's (`enable_fallback=0`), that of
`run` (in `backends._shared.onnx.runtime.Inference`), and the passing over of an unknown provider,
which is added by its device. Which provider takes which node, the session's assignment tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime as ort

from backends._shared.onnx import runtime
from harness.contract import HarnessError, Unavailable
from harness.toolkit.close_matches import did_you_mean

#: Kinds of devices, the preferred one first.
KINDS = ("npu", "gpu", "cpu")

#: Under which the library of a provider is registered, so that its own devices can be told.
_REGISTRATION = "harness"


@dataclass(frozen=True)
class PluginProvider:
    """A plugin execution provider as the user names it.

    Attributes:
        library: the shared library that holds the provider.
        name: of the provider; empty where the library has one alone.
        options: of the provider, by name.
        kind: of the device to take, one of `KINDS`; empty for the first of these that there is.
    """

    library: Path
    name: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""

    def device(self) -> Any:
        """The provider's device, as ONNX Runtime describes it.

        Raises:
            HarnessError: the file is no library of a provider, has no provider of that name, or
                none of the kind of device.
            Unavailable: the library finds no device on this machine.
        """
        found = registered(self.library)
        names = sorted({each.ep_name for each in found})
        if not found:
            raise Unavailable(
                f"{self.library} finds no device on this machine.",
                "install the device's driver, or set what the provider's documentation asks for.",
            )
        if self.name not in names and (self.name or len(names) > 1):
            close = did_you_mean(self.name, names)
            raise HarnessError(
                f"expected --ep to name a provider of {self.library}, which has "
                f"{', '.join(names)}; found {self.name!r}.{close} Fix: name one of these"
            )
        own = [each for each in found if each.ep_name == (self.name or names[0])]
        kinds = {kind_of(each): each for each in reversed(own)}
        wanted = [self.kind] if self.kind else KINDS
        for kind in wanted:
            if kind in kinds:
                return kinds[kind]
        raise HarnessError(
            f"expected --device to name a kind of device of {own[0].ep_name}, which has "
            f"{', '.join(sorted(kinds))}; found {self.kind!r}. "
            "Fix: name one of these, or leave --device out"
        )

    def session(self, model: bytes) -> Any:
        """A session on a graph.

        Raises:
            What ONNX Runtime raises where the provider cannot compile what it took.
            As `device`.
        """
        chosen = runtime.options()
        chosen.add_provider_for_devices([self.device()], dict(self.options))
        return ort.InferenceSession(model, chosen, enable_fallback=0)


def kind_of(device: Any) -> str:
    """`npu`, `gpu` or `cpu`, of a device of ONNX Runtime."""
    return str(device.device.type).rpartition(".")[2].lower()


@cache
def registered(library: Path) -> tuple[Any, ...]:
    """The devices of a provider's library, which is registered once in a process.

    Raises:
        HarnessError: the file is missing, or no library of a provider for this ONNX Runtime.
    """
    if not library.is_file():
        raise HarnessError(
            f"expected --ep-library to name a provider's shared library, found no file {library}. "
            "Fix: give its path; a package on PyPI says it with get_library_path()"
        )
    before = {each.ep_name for each in ort.get_ep_devices()}
    try:
        ort.register_execution_provider_library(_REGISTRATION, str(library))
    except Exception as error:
        raise HarnessError(
            f"expected --ep-library to name a provider for ONNX Runtime {ort.__version__}, found "
            f"{library}: {error}. Fix: name a library that exports CreateEpFactories, built for "
            "this version and processor; `ldd` shows what else the library needs"
        ) from error
    return tuple(each for each in ort.get_ep_devices() if each.ep_name not in before)

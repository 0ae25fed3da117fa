"""A vendor's plugin execution provider in the place of the CPU provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import onnxruntime as ort

from backends._shared.onnx.plugin_provider import PluginProvider, kind_of
from harness.contract import Device, HarnessError, Precision

#: Between the pairs of `--ep-option`, as the session passes them on.
SEPARATOR = "\n"

#: A device that computes float32 graphs in float16 is judged so by `f16-inside`.
PRECISIONS: Sequence[Precision] = (
    Precision("default", "float32", patience=3.0),
    Precision("f32", "float32", patience=3.0),
    Precision("f16", "float16", patience=3.0),
    Precision("f16-inside", "float16", patience=3.0),
)


def plugin_of(options: Mapping[str, str]) -> PluginProvider | None:
    """The provider that a session's options name; None where they name none.

    Args:
        options: `ep_library`, `ep`, `ep_option` and `device` count.

    Raises:
        HarnessError: there is a name or an option without a library, or an option is no pair.
    """
    library = options.get("ep_library", "")
    name, said = options.get("ep", ""), options.get("ep_option", "")
    if not library:
        if name or said:
            raise HarnessError(
                "expected --ep-library beside --ep and --ep-option, found none. "
                "Fix: add --ep-library PATH, the provider's shared library"
            )
        return None
    pairs = {}
    for text in filter(None, said.split(SEPARATOR)):
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise HarnessError(
                f"expected --ep-option NAME=VALUE, as in device_id=0, found {text!r}. "
                "Fix: write it so, once for each option"
            )
        pairs[key] = value
    return PluginProvider(
        Path(library).expanduser().resolve(), name, pairs, options.get("device", "")
    )


def described(provider: PluginProvider) -> Device:
    """The provider's device, with the versions of what computes and exports.

    Raises:
        As `PluginProvider.device`.
    """
    found = provider.device()
    packages = ("onnxruntime", "onnx", "onnxscript", "torch", "transformers")
    about = dict(found.device.metadata)
    hardware = about.get("Description") or found.device.vendor or "unknown hardware"
    options = ", ".join(f"{key}={value}" for key, value in provider.options.items())
    return Device(
        name=f"{found.ep_name} on {hardware}",
        kind=kind_of(found),
        versions={each: version(each) for each in packages},
        driver=" ".join(
            filter(
                None,
                (
                    f"{found.ep_name} {found.ep_metadata.get('version', '')} of {found.ep_vendor}",
                    f"for ONNX Runtime {ort.__version__}",
                    f"with {options}" if options else "",
                ),
            )
        ),
    )

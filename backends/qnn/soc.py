"""Qualcomm's systems on a chip (SoC): names, QNN's numbers for them, and this machine's own."""

from __future__ import annotations

import difflib
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.contract import HarnessError

#: Name -> `soc_model`, as in QnnTypes.h of Qualcomm's SDK (QNN_SOC_MODEL_*), for those whose HTP
#: computes in float16 (v69 and later).
SOC_MODELS: Mapping[str, int] = {
    "sm8450": 36,
    "sm8475": 42,
    "sm8550": 43,
    "sxr1230p": 45,
    "ssg2115p": 46,
    "sa8255": 52,
    "sxr2230p": 53,
    "sm8650": 57,
    "ssg2125p": 58,
    "sc8380xp": 60,
    "qcs8550": 66,
    "sm8635": 68,
    "sm8750": 69,
    "sxr2330p": 75,
    "qcs9100": 77,
    "sm8850": 87,
    "sm8845": 97,
}

#: The SoC that is emulated without `--soc`: the one that most was measured on.
DEFAULT = "sm8550"

#: Processors' marketing names on Windows -> the SoC.
_WINDOWS = ((r"\bX1[EP]\d*|X Elite|X Plus", "sc8380xp"),)


@dataclass(frozen=True, slots=True)
class Soc:
    """The SoC to compile for, and whether it is this machine's own.

    Attributes:
        name: a key of `SOC_MODELS`.
        emulated: the HTP is Qualcomm's emulator on a processor of another kind.
        evidence: where the name comes from.
    """

    name: str
    emulated: bool
    evidence: str

    @property
    def model(self) -> str:
        """QNN's number, as the provider's option `soc_model` takes it."""
        return str(SOC_MODELS[self.name])


class UnknownSoc(Exception):
    """A machine of the right kind that does not say which SoC it has."""


def choose(asked: str, found: Soc | None) -> Soc:
    """The SoC that the session asked for, else the machine's own.

    Args:
        asked: the value of `--soc`; may be empty.
        found: what `detect` says of a Qualcomm machine; None on any other.

    Raises:
        HarnessError: there is no SoC of that name.
    """
    if not asked:
        return found or Soc(DEFAULT, emulated=True, evidence="the default")
    name = asked.strip().lower()
    if name not in SOC_MODELS:
        close = difflib.get_close_matches(name, SOC_MODELS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise HarnessError(
            f"expected --soc to be one of {', '.join(SOC_MODELS)}, found {asked!r}.{hint}"
        )
    return Soc(name, emulated=found is None, evidence="--soc")


def detect(
    machine: str = platform.machine(),
    system: str = sys.platform,
    read: Callable[[], str] | None = None,
) -> Soc | None:
    """The SoC of this machine by evidence; None where the processor is none of Qualcomm's kind.

    Args:
        machine: as `platform.machine()` says it.
        system: as `sys.platform` says it.
        read: what the system says of its SoC; by default from where this system says it.

    Raises:
        UnknownSoc: an ARM machine whose SoC is not in `SOC_MODELS`.
    """
    if machine.lower() not in ("aarch64", "arm64"):
        return None
    said = (read or (_windows if system == "win32" else _linux))()
    for name in SOC_MODELS:
        if re.search(rf"\b{name}", said, re.IGNORECASE):
            return Soc(name, emulated=False, evidence=said)
    for pattern, name in _WINDOWS:
        if re.search(pattern, said):
            return Soc(name, emulated=False, evidence=said)
    raise UnknownSoc(said or "nothing")


def _linux() -> str:
    """The SoC as the kernel's socinfo driver names it, else as Android's properties do."""
    words = []
    for name in ("machine", "family", "soc_id"):
        path = Path("/sys/devices/soc0", name)
        if path.is_file():
            words.append(path.read_text(encoding="ascii", errors="replace").strip())
    if not words:
        command = ["getprop", "ro.soc.model"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except OSError:  # no Android
            return ""
        words.append(done.stdout.strip())
    return " ".join(words)


def _windows() -> str:
    """The processor's marketing name, from the registry."""
    if sys.platform != "win32":
        return ""
    import winreg

    place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
        return str(winreg.QueryValueEx(key, "ProcessorNameString")[0])

"""Which SoC the QNN backend compiles for, and whether it is the machine's own."""

from __future__ import annotations

import pytest

from backends.qnn.soc import DEFAULT, SOC_MODELS, Soc, UnknownSoc, choose, detect
from harness.contract import HarnessError


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_another_processor_has_none(machine: str) -> None:
    assert detect(machine, "linux", lambda: "SM8550") is None


@pytest.mark.parametrize(
    ("machine", "system", "said", "name"),
    [
        ("aarch64", "linux", "SM8650 Snapdragon 557", "sm8650"),
        ("aarch64", "linux", "QCS9100 Snapdragon", "qcs9100"),
        ("aarch64", "android", "SM8550P", "sm8550"),
        ("ARM64", "win32", "Snapdragon(R) X Elite - X1E78100 - Qualcomm(R) Oryon(TM)", "sc8380xp"),
        ("ARM64", "win32", "Snapdragon(R) X Plus - X1P64100 - Qualcomm(R) Oryon(TM)", "sc8380xp"),
    ],
)
def test_a_qualcomm_machine_is_known_by_what_it_says(
    machine: str, system: str, said: str, name: str
) -> None:
    found = detect(machine, system, lambda: said)
    assert found == Soc(name, emulated=False, evidence=said)


@pytest.mark.parametrize("said", ["", "Apple M2", "SDM845"])
def test_an_unknown_arm_machine_is_none_of_ours(said: str) -> None:
    with pytest.raises(UnknownSoc):
        detect("aarch64", "linux", lambda: said)


def test_without_a_wish_the_machine_decides() -> None:
    own = Soc("sm8650", emulated=False, evidence="soc0")
    assert choose("", own) is own
    assert choose("", None) == Soc(DEFAULT, emulated=True, evidence="the default")


def test_a_wish_is_emulated_where_there_is_no_hardware() -> None:
    chosen = choose("SM8750", None)
    assert (chosen.name, chosen.model, chosen.emulated) == ("sm8750", "69", True)


def test_an_unknown_name_has_a_close_one() -> None:
    with pytest.raises(HarnessError, match=r"Did you mean sm8550\?"):
        choose("sm8551", None)


def test_every_soc_has_a_number_of_its_own() -> None:
    assert len(set(SOC_MODELS.values())) == len(SOC_MODELS)
    assert DEFAULT in SOC_MODELS

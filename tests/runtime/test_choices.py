"""Which precision runs where, when nobody says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from embedge import OptionError
from embedge.choices import choose_precision
from embedge.pack.reading import read_manifest

MakePack = Callable[..., Path]


@pytest.mark.parametrize(
    ("precisions", "passed", "device", "value", "reason"),
    [
        (("fp32", "int8"), ("int8",), "cpu", "int8", "passed its gate"),
        (("fp32", "int8"), (), "cpu", "fp32", "the CPU, and int8 did not pass its gate"),
        (("fp32", "fp16"), (), "cpu", "fp32", "int8 is not in the pack"),
        (("fp32", "fp16", "int8"), ("int8",), "cuda", "fp16", "CUDA"),
        (("fp32", "int8"), ("int8",), "cuda", "fp32", "CUDA, and fp16 is not in"),
        (("int8", "int4"), ("int8", "int4"), "cpu", "int8", "int8 passed"),
        (("fp32", "int4"), ("int4",), "cpu", "fp32", "int8 is not in the pack"),
        (("int8", "int4"), ("int4",), "cpu", "int4", "fp32 is not in the pack"),
        (("fp16", "int4"), ("int4",), "cpu", "int4", "fp32 is not in the pack"),
    ],
)
def test_auto_precision_follows_the_device(
    make_pack: MakePack,
    precisions: tuple[str, ...],
    passed: tuple[str, ...],
    device: str,
    value: str,
    reason: str,
) -> None:
    manifest = read_manifest(make_pack(precisions=precisions, passed=passed))
    choice = choose_precision(manifest, "auto", device=device)
    assert choice.value == value
    assert reason in choice.reason


def test_int4_that_missed_its_gate_is_not_chosen(make_pack: MakePack) -> None:
    manifest = read_manifest(make_pack(precisions=("int4",), passed=()))
    for device in ("cpu", "cuda"):
        with pytest.raises(OptionError, match="int4"):
            choose_precision(manifest, "auto", device=device)


def test_fp16_on_a_cpu_only_by_name(make_pack: MakePack) -> None:
    manifest = read_manifest(make_pack(precisions=("fp16",)))
    with pytest.raises(OptionError, match=r"only fp16.*int8.*fp32.*precision="):
        choose_precision(manifest, "auto", device="cpu")
    assert choose_precision(manifest, "fp16", device="cpu").value == "fp16"


def test_a_precision_that_the_pack_lacks_is_refused_with_those_it_has(make_pack: MakePack) -> None:
    manifest = read_manifest(make_pack(precisions=("fp32", "int8"), passed=()))
    with pytest.raises(OptionError, match="'fp16' is not in this pack; it has fp32, int8"):
        choose_precision(manifest, "fp16", device="cpu")
    assert choose_precision(manifest, "int8", device="cpu").value == "int8"
    int8_only = read_manifest(make_pack("other", precisions=("int8",)))
    with pytest.raises(OptionError, match=r"only int8.*for CUDA: fp16, fp32\..*another device="):
        choose_precision(int8_only, "auto", device="cuda")

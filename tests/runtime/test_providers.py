"""A device is one file and one line: here a third one is added, and nothing else is touched."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedge import DeviceError, Embedder, OptionError
from embedge.cli import arguments
from embedge.engine.devices import choose_device, precisions_here
from embedge.engine.providers.cuda import Cuda
from embedge.engine.providers.register import PROVIDERS
from embedge.failures import running_failure
from support.plugin_provider import Plugin

MakePack = Callable[..., Path]


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """The line in the register."""
    provider = Plugin()
    monkeypatch.setitem(PROVIDERS, provider.device, provider)
    monkeypatch.setattr(Cuda, "problem", lambda _: "no GPU, for the test")
    return provider


def test_a_pack_runs_on_a_third_device(make_pack: MakePack, plugin: Plugin) -> None:
    folder = make_pack(precisions=("fp32", "int8"))
    texts = ["a", "bcd", "ef"]
    with Embedder(folder, device="plugin") as third, Embedder(folder, precision="fp32") as cpu:
        assert (third.device, third.precision) == ("plugin", "fp32")
        assert third.choices["device"].reason == "device= was given, and the plugin works here"
        assert (
            third.choices["precision"].reason == "the device is the plugin, and the pack has fp32"
        )
        assert third.choices["memory_limit"].reason == "for the test"
        assert third.encoder.images_per_run() == 4
        assert np.array_equal(third.encode(texts), cpu.encode(texts))


def test_auto_takes_it_for_its_precision_alone(plugin: Plugin) -> None:
    assert choose_device("auto", precision="auto", held=("fp16", "int8")).value == "plugin"
    assert precisions_here() == ("fp16", "int8")
    chosen = choose_device("auto", precision="int8", held=("fp16", "int8"))
    assert chosen.value == "cpu"
    assert chosen.reason.count("int8 was asked for") == 2  # by both devices that might have


def test_a_plugin_without_a_device_says_so_in_a_sentence(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plugin, "execution_provider", "NobodysExecutionProvider")
    with pytest.raises(
        DeviceError,
        match=r'device="plugin" is unavailable: Nobodys.* lists no device.*device="cpu"',
    ):
        choose_device("plugin", precision="auto", held=("fp16",))
    chosen = choose_device("auto", precision="auto", held=("fp16",))
    assert chosen.value == "cpu"
    assert chosen.reason == (
        "no GPU, for the test; NobodysExecutionProvider lists no device on this machine"
    )


def test_its_failures_are_its_own_and_its_precisions_too(
    make_pack: MakePack, plugin: Plugin
) -> None:
    error = running_failure(
        Path("g.onnx"), "2 texts", RuntimeError("PluginError: 7"), limits="x=", device=plugin
    )
    assert isinstance(error, DeviceError)
    assert "the plugin's device failed on 2 texts" in str(error)
    assert "--device plugin" in str(error)
    with pytest.raises(OptionError, match=r"only int8.*for the plugin: fp32, fp16"):
        Embedder(make_pack(precisions=("int8",)), device="plugin")


def test_a_device_that_captures_no_runs_refuses_to(plugin: Plugin) -> None:
    with pytest.raises(DeviceError, match="runs on the plugin cannot be captured"):
        plugin.captured(Path("g.onnx"), threads=1, memory=None)


def test_the_command_lines_help_names_every_device() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    arguments.add_engine_options(parser)
    for device in PROVIDERS:
        assert device in parser.format_help()

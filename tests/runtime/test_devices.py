from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from embedge.engine import loading
from embedge.engine.devices import choose_device
from embedge.engine.providers import cuda
from embedge.errors import DeviceError, OptionError

MakeRuntime = Callable[..., SimpleNamespace]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRuntime]:
    """An ONNX Runtime with or without a CUDA provider that loads."""

    def make(
        *,
        available: list[str],
        loaded: list[str] | Exception = [],  # noqa: B006
        installed: tuple[str, ...] = ("onnxruntime-gpu",),
    ) -> SimpleNamespace:
        def open_session(*_: Any, **__: Any) -> Any:
            if isinstance(loaded, Exception):
                raise loaded
            return SimpleNamespace(get_providers=lambda: loaded)

        runtime = SimpleNamespace(
            __version__="1.99",
            get_available_providers=lambda: available,
            InferenceSession=open_session,
            preload_dlls=lambda: print("cudnn not found"),
        )
        monkeypatch.setattr(loading, "load_runtime", lambda: runtime)
        monkeypatch.setattr(loading, "installed_distributions", lambda: list(installed))
        return runtime

    cuda.cuda_problem.cache_clear()
    yield make
    cuda.cuda_problem.cache_clear()


BOTH = [cuda.NAME, loading.CPU]


def test_cuda_that_loads_is_taken(pretend: MakeRuntime, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(available=BOTH, loaded=BOTH)
    assert choose_device("cuda", precision="auto", held=["fp32"]).value == "cuda"
    assert choose_device("auto", precision="auto", held=["fp32", "fp16"]).value == "cuda"
    assert capsys.readouterr() == ("", "")  # what preload_dlls prints goes to neither stream


@pytest.mark.parametrize("loaded", [[loading.CPU], RuntimeError("libcudnn.so.9: cannot open")])
def test_cuda_that_does_not_load_is_an_error_or_a_reason(pretend: MakeRuntime, loaded: Any) -> None:
    pretend(available=BOTH, loaded=loaded)
    with pytest.raises(DeviceError, match="does not load"):
        choose_device("cuda", precision="auto", held=["fp16"])
    choice = choose_device("auto", precision="auto", held=["fp16"])
    assert choice.value == "cpu"
    assert "does not load" in choice.reason
    if isinstance(loaded, list):
        assert "it says: cudnn not found" in choice.reason


def test_a_build_without_cuda_names_the_distribution(pretend: MakeRuntime) -> None:
    pretend(available=[loading.CPU], installed=("onnxruntime",))
    with pytest.raises(DeviceError, match=r"onnxruntime 1\.99 has no CUDA.*embedge\[gpu\]"):
        choose_device("cuda", precision="auto", held=["fp16"])


def test_two_distributions_in_one_module_are_told_apart(pretend: MakeRuntime) -> None:
    pretend(available=[loading.CPU], installed=("onnxruntime", "onnxruntime-gpu"))
    with pytest.raises(DeviceError, match="pip uninstall onnxruntime onnxruntime-gpu"):
        choose_device("cuda", precision="auto", held=["fp16"])


def test_a_gpu_is_not_even_looked_for_where_it_would_not_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuda, "cuda_problem", lambda: pytest.fail("looked for a GPU"))
    assert choose_device("cpu", precision="auto", held=["fp16"]).value == "cpu"
    assert choose_device("auto", precision="auto", held=["fp32", "int8"]).value == "cpu"
    assert choose_device("auto", precision="int8", held=["fp16", "int8"]).value == "cpu"
    with pytest.raises(OptionError, match="auto, cpu, cuda"):
        choose_device("gpu", precision="auto", held=["fp16"])

"""Reading .npy files: what they claim is compared with what is there, before memory is taken."""

import io
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.files.npy import NpyError, read_npy


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    size = struct.pack("<H" if version == 1 else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + b"\n" + data


def claims(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", np.int8, np.float16])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_as_they_were_saved(tmp_path, dtype, order):
    array = np.asarray(np.arange(6).reshape(2, 3), dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    found = read_npy(tmp_path / "a.npy", (2, None))
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()
    np.save(tmp_path / "none.npy", np.zeros((0, 3), np.float32))
    assert read_npy(tmp_path / "none.npy", (None, 3)).shape == (0, 3)


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    return stream.getvalue()


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a .npy array"),
        (b"junk", "is not a .npy array"),
        (archive(), "is not a .npy array"),
        (b"\x93NUMPY", "damaged"),
        (b"\x93NUMPY\x09\x00\x00\x00", "damaged"),
        (npy("("), "damaged"),
        (npy("(" * 9000), "damaged"),
        (npy("[" * 60_000, version=2), "damaged"),
        (npy("{}"), "damaged"),
        (npy(claims("(2, 3)", "'<f99'")), "damaged"),
        (npy(claims("(2, -3)")), r"damaged .* \(2, -3\)"),
        (npy(claims("(0, 1e3)")), "damaged"),
        (saved(np.array([[{}], [{}]], object)), "holds object, not numbers"),
        (saved(np.array([["a"], ["b"]])), "not numbers"),
        (saved(np.zeros((2, 3), "f4,i4")), "not numbers"),
        (saved(np.zeros((2, 3), complex)), "not numbers"),
        (saved(np.zeros((3, 3))), r"holds an array \(3, 3\), not \(2, n\)"),
        (saved(np.zeros(2)), r"holds an array \(2,\)"),
        (npy(claims("(2, 1000000000)")), "cut short: 0 bytes of 8,000,000,000"),
        (npy(claims("(2, 1000000000000)")), "damaged"),
        (npy(claims(f"(0, {10**40})")), "damaged"),
        (saved(np.zeros((2, 30)))[:-1], "cut short: 479 bytes of 480"),
    ],
)
def test_what_holds_something_else(tmp_path, data, reason):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(NpyError, match=reason):
        read_npy(tmp_path / "a.npy", (2, None))


def test_a_file_of_terabytes_takes_no_memory(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(npy(claims("(2, 10, 1000, 1000, 100000)")))
    os.truncate(path, 2**43)  # sparse: all of it seems to be there
    with pytest.raises(NpyError, match="larger than 1024 MiB"):
        read_npy(path, (2, None, None, None, None))


@pytest.mark.parametrize("name", ["gone", "folder", "pipe", "link"])
def test_what_is_no_file(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with pytest.raises(NpyError, match="cannot be read"):
        read_npy(tmp_path / name, (2, None), follow_links=True)


@given(data=st.binary(max_size=200))
def test_any_bytes_after_the_magic(data):
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\x93NUMPY" + data)
        file.flush()
        with pytest.raises(NpyError):
            read_npy(Path(file.name), (7, 7, 7))

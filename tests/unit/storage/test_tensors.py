"""Tensors on disk: equal to the package's files, hashed on their way, refused if damaged."""

import hashlib
import json
import struct

import pytest
import safetensors.torch
import torch

from itrec_dist.errors import CheckpointError
from itrec_dist.storage import tensors as tensor_files

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32,
    torch.int64, torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


def some():
    """Tensors of every type, with and without dimensions or elements, and one that is a view."""
    torch.manual_seed(1)
    found = {f"of {dtype}": (torch.rand(2, 3) * 9).to(dtype) for dtype in DTYPES}
    found |= {
        "number": torch.tensor(1.5, dtype=torch.float64), "none": torch.empty(0, 4),
        'a "name" é': torch.rand(4, 3).t(), "view": torch.arange(20)[3:9:2],
    }  # fmt: skip
    return found


def same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert (tensor.dtype, tensor.shape) == (other[name].dtype, other[name].shape), name
        mine, theirs = (t.contiguous().reshape(-1).view(torch.uint8) for t in (tensor, other[name]))
        assert torch.equal(mine, theirs), name


@pytest.mark.parametrize("tensors", [some(), {}], ids=["all types", "none at all"])
def test_a_file_is_byte_identical_to_the_packages(tensors, tmp_path):
    path = tmp_path / "tensors"
    written = tensor_files.write(path, tensors)
    content = path.read_bytes()
    assert content == safetensors.torch.save({n: t.contiguous() for n, t in tensors.items()})
    assert (written.size, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    same(tensor_files.read(path, written.sha256), tensors)


def test_a_file_of_the_package_is_read_its_metadata_ignored(tmp_path):
    path = tmp_path / "tensors"
    tensors = {n: t.contiguous() for n, t in some().items()}
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    same(tensor_files.read(path), tensors)


def test_a_tensor_at_an_odd_place_is_read(tmp_path):
    """The format asks writers to align tensors; readers cannot rely on it."""
    header = json.dumps({
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }).encode()  # fmt: skip
    path = tmp_path / "tensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\x07" + struct.pack("<2f", 1, 2))
    found = tensor_files.read(path)
    assert found["a"].tolist() == [7]
    assert found["b"].tolist() == [1.0, 2.0]


def entry(**changes):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


@pytest.mark.parametrize(
    "header",
    [
        entry(dtype="X1"), entry(shape=[3]), entry(shape=["two"]), entry(data_offsets=[0, 12]),
        entry(data_offsets=[-8, 0]), entry(data_offsets=[8, 0]), entry(data_offsets=None),
        entry(shape=None), [], "text", {}, {"a": 1},
    ],
)  # fmt: skip
def test_a_header_that_does_not_fit_is_one_sentence(header, tmp_path):
    content = json.dumps(header).encode()
    path = tmp_path / "tensors"
    path.write_bytes(struct.pack("<Q", len(content)) + content + bytes(8))
    with pytest.raises(
        CheckpointError, match="tensors is damaged: it is not a safetensors"
    ) as refused:
        tensor_files.read(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\x01", b"\xff" * 40, struct.pack("<Q", 9) + b"{"])
def test_bytes_of_another_kind_are_one_sentence(content, tmp_path):
    path = tmp_path / "tensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        tensor_files.read(path)


def test_another_checksum_and_no_file_are_refused(tmp_path):
    path = tmp_path / "tensors"
    tensor_files.write(path, some())
    with pytest.raises(CheckpointError, match="its checksum is not the recorded one"):
        tensor_files.read(path, "0" * 64)
    with pytest.raises(CheckpointError, match="is missing"):
        tensor_files.read(tmp_path / "nowhere")

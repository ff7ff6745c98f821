import struct

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from prune_search.cost import encode, read_tensors


def decoded(file: bytes, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(file)
    return read_tensors(tmp_path / "model.safetensors")


def assert_same_bits(tensor, expected):
    assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape)
    bits = [t.contiguous().view(-1).view(torch.uint8) for t in (tensor, expected)]
    assert torch.equal(*bits)


def test_every_byte_of_a_small_file():
    weight = torch.zeros(10, 100)
    weight[0, 0], weight[0, 9], weight[9, 99] = 1.0, -0.0, 2.0
    header = (
        b'{"__metadata__":{"sparse":"{\\"w\\":[10,100]}"},'
        b'"w.values":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},'
        b'"w.bitmap":{"dtype":"U8","shape":[125],"data_offsets":[12,137]}}'
    )
    values = bytes.fromhex("0000803f 00000080 00000040")
    bitmap = bytes([1, 2]) + bytes(122) + bytes([128])
    assert len(header) == 171
    assert encode({"w": weight}) == struct.pack("<Q", 176) + header + b"     " + values + bitmap


def test_a_tensor_stays_dense_where_that_is_not_larger():
    """n zeros take 4 n bytes; sparse, n / 8 and at most 130 of the header: 33 cost 132 and 135, 34 cost 136 and 135."""
    assert encode({"w": torch.zeros(33)}) == save({"w": torch.zeros(33)}, metadata={"format": "pt"})
    assert b"w.bitmap" in encode({"w": torch.zeros(34)})


@pytest.mark.parametrize("name", ["w", "features.17.block.conv.weight"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_a_file_is_never_larger_than_the_dense_one(name, dtype):
    torch.manual_seed(0)
    for number in [*range(0, 400, 7), 3000]:
        for density in (0, 0.1, 0.5, 0.9):
            tensors = {name: ((torch.rand(number) < density) * 3).to(dtype)}
            assert len(encode(tensors)) <= len(save(tensors, metadata={"format": "pt"}))


@pytest.mark.parametrize("dtype", "float32 bfloat16 float16 float64 int64 uint16 bool float8_e5m2".split())
@pytest.mark.parametrize("density", [0, 0.02, 0.3, 0.98, 1])
def test_tensors_come_back_bit_for_bit(dtype, density, tmp_path):
    dtype = getattr(torch, dtype)
    torch.manual_seed(0)
    bits = torch.randint(1, 256, (37, 29, dtype.itemsize), dtype=torch.uint8)
    bits = bits.clamp(max=1) if dtype == torch.bool else bits
    tensor = (bits * (torch.rand(37, 29, 1) < density)).view(dtype).view(37, 29)
    file = encode({"w": tensor})
    assert (b"w.bitmap" in file) == (density < 0.9 and (dtype.itemsize > 1 or density < 0.5))
    assert_same_bits(decoded(file, tmp_path)["w"], tensor)


def test_unusual_tensors_come_back_bit_for_bit(tmp_path):
    base = torch.zeros(40, 60)
    base[::7, ::11] = 5
    special = torch.zeros(500, dtype=torch.int32)
    special[100:104] = torch.tensor([-(2**31), 0x7FC00001, 1, 0x7F800000])  # -0.0, a NaN, the smallest number, inf
    tensors = {
        "empty": torch.zeros(0, 5),
        "scalar": torch.tensor(0),
        "transposed": base.t(),
        "strided": base[::2, 1:],
        "expanded": torch.zeros(1).expand(900),
        "view": base,
        "special": special.view(torch.float32),
    }
    file = encode(tensors)
    assert {name for name in tensors if f"{name}.bitmap".encode() in file} == tensors.keys() - {"empty", "scalar"}
    back = decoded(file, tmp_path)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert_same_bits(back[name], tensor)


def test_names_that_are_taken_leave_a_tensor_dense(tmp_path):
    tensors = {"w": torch.zeros(900), "w.values": torch.ones(3)}
    back = decoded(encode(tensors), tmp_path)
    assert back.keys() == tensors.keys() and all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_the_same_tensors_give_the_same_bytes():
    tensors = {name: torch.zeros(900) for name in "abc"} | {"d": torch.ones(3)}
    assert len({encode(tensors) for _ in range(20)}) == 1


def test_files_without_sparse_tensors_are_read(tmp_path):
    tensors = {"w": torch.randn(3, 4), "w.bitmap": torch.ones(2)}
    for metadata in (None, {"format": "pt"}):
        assert all(
            torch.equal(value, tensors[name])
            for name, value in decoded(save(tensors, metadata=metadata), tmp_path).items()
        )


@pytest.mark.parametrize(
    ("changes", "shapes", "words"),
    [
        ({"w.values": None}, '{"w":[10,101]}', "'w' lacks its bitmap or its values"),
        ({"w.bitmap": None}, '{"w":[10,101]}', "'w' lacks its bitmap or its values"),
        ({}, '{"v":[10,101]}', "'v' lacks its bitmap or its values"),
        ({"w": torch.ones(1)}, '{"w":[10,101]}', "'w' is stored twice"),
        ({}, '{"w":[10,100]}', r"is uint8 \[127\]; the shape \[10, 100\] needs uint8 \[125\]"),
        ({}, '{"w":[1000000,1000000000]}', r"is uint8 \[127\]; the shape .* needs uint8 \[125000000000000\]"),
        ({"w.bitmap": torch.zeros(127)}, '{"w":[10,101]}', r"is float32 \[127\]; .* needs uint8 \[127\]"),
        ({"w.bitmap": torch.zeros(1, 127, dtype=torch.uint8)}, '{"w":[10,101]}', r"is uint8 \[1, 127\]"),
        ({}, '{"w":[1009]}', "has bits set after its 1009 entries"),
        ({"w.values": torch.ones(3)}, '{"w":[10,101]}', r"values of 'w' are \[3\]; its bitmap has 2 bits set"),
        ({"w.values": torch.ones(2, 1)}, '{"w":[10,101]}', r"values of 'w' are \[2, 1\]; its bitmap has 2 bits set"),
        ({}, '{"w":[-10,-101]}', "which is no list of sizes"),
        ({}, '{"w":[10,true]}', "which is no list of sizes"),
        ({}, '{"w":1010}', "which is no list of sizes"),
        ({}, '{"w":[10,101]', "no JSON object of shapes"),
        ({}, "7", "no JSON object of shapes"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, shapes, words, tmp_path):
    weight = torch.zeros(10, 101)
    weight[0, 3] = weight[9, 100] = 1
    path = tmp_path / "model.safetensors"
    path.write_bytes(encode({"w": weight}))
    stored = {name: value for name, value in (load_file(path) | changes).items() if value is not None}
    save_file(stored, path, metadata={"sparse": shapes})
    with pytest.raises(ValueError, match=words):
        read_tensors(path)

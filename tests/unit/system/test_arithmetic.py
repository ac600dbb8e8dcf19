"""Which precisions a device computes in, from what Linux and CUDA say of it."""

import pytest
import torch

from itrec_dist.system import arithmetic, doctor

AVX2 = "fpu sse4_2 avx avx2 fma"


@pytest.mark.parametrize(
    ("flags", "native", "fastest"),
    [
        ("", {"fp32"}, "fp32"),
        (AVX2, {"fp32"}, "fp32"),
        (AVX2 + " avx512f avx512bw avx512_vnni", {"fp32"}, "fp32"),
        (AVX2 + " avx512f avx512_bf16", {"fp32", "bf16"}, "bf16"),
        (AVX2 + " amx_tile amx_int8 amx_bf16", {"fp32", "bf16"}, "bf16"),
        (AVX2 + " avx512_bf16 avx512_fp16", {"fp32", "bf16", "fp16"}, "bf16"),
        (AVX2 + " avx512_fp16", {"fp32", "fp16"}, "fp32"),
    ],
)
def test_a_cpu_computes_in_what_its_flags_name(flags, native, fastest, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nmodel name\t: Some CPU: fast\nflags\t\t: {flags}\n\n")
    able = arithmetic.native_to_cpu(arithmetic.cpu_flags(info))
    assert able == native
    assert arithmetic.fastest(able) == fastest


def test_a_cpu_that_tells_nothing_computes_in_fp32(tmp_path):
    arm = tmp_path / "cpuinfo"
    arm.write_text("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n")
    for info in (arm, tmp_path / "absent"):  # as on ARM, and on macOS
        assert arithmetic.native_to_cpu(arithmetic.cpu_flags(info)) == {"fp32"}


@pytest.mark.parametrize(
    ("capability", "native"),
    [
        ((5, 2), {"fp32"}),
        ((7, 5), {"fp32", "fp16"}),
        ((8, 0), {"fp32", "fp16", "bf16"}),
        ((9, 0), {"fp32", "fp16", "bf16"}),
        ((12, 0), {"fp32", "fp16", "bf16"}),
    ],
)
def test_a_gpu_computes_in_what_its_capability_allows(capability, native):
    assert arithmetic.native_to_cuda(capability) == native


def test_a_device_of_another_kind_computes_in_fp32():
    assert arithmetic.native(torch.device("meta")) == {"fp32"}
    assert "fp32" in arithmetic.native(torch.device("cpu"))


def test_the_doctor_says_what_auto_takes_and_what_is_slow():
    able = doctor.precision(frozenset({"fp32", "bf16", "fp16"}))
    assert (able.status, able.found) == ("ok", "engine.precision=auto takes bf16")
    old = doctor.precision(frozenset({"fp32"}))
    assert old.found.startswith("engine.precision=auto takes fp32; bf16 and fp16 would be emulated")
    assert old.values == {"auto": "fp32", "emulated": ["bf16", "fp16"]}
    here = doctor.precision()
    assert here.values["auto"] in here.found

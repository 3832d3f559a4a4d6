"""The resources that a compiled kernel uses, read from its machine code without driver, GPU or disassembler.

A cubin is an ELF file. ``.nv.info`` holds attributes of 4 bytes (format, kind, size) and a value; the kinds are those
that ``cuobjdump -elf`` names EIATTR_REGCOUNT and EIATTR_FRAME_SIZE. Instructions are 16 bytes from sm_70 on, the low
twelve bits of which are the opcode; HMMA, the matrix product of 16-bit numbers, is 0x23c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_REGISTERS, _FRAME = 0x2F, 0x11
_VALUE_FOLLOWS = 4
_HMMA = 0x23C
_WARP = 32
_REGISTERS_OF_A_WARP = 256  # the allocation unit


class Resources(NamedTuple):
    """Resources of one kernel. ``frame_bytes`` is local memory of a thread: 0 means that no register was spilled."""

    registers: int
    shared_bytes: int
    frame_bytes: int
    matrix_instructions: int


class Limits(NamedTuple):
    """Limits of one multiprocessor: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"."""

    warps: int
    blocks: int
    shared_kib: int
    registers: int = 65536


LIMITS = {
    "sm_75": Limits(32, 16, 64),
    "sm_80": Limits(64, 32, 164),
    "sm_86": Limits(48, 16, 100),
    "sm_89": Limits(48, 24, 100),
    "sm_90": Limits(64, 32, 228),
    "sm_100": Limits(64, 32, 228),
    "sm_120": Limits(48, 24, 100),
}


def read_resources(cubin: bytes) -> Resources:
    """The resources of the one kernel in ``cubin``."""
    parts = dict(_read_sections(cubin))
    info = dict(_read_attributes(parts[".nv.info"]))
    text = next(content for name, content in parts.items() if name.startswith(".text."))
    shared = next((len(content) for name, content in parts.items() if name.startswith(".nv.shared.")), 0)
    words = struct.iter_unpack("<QQ", text[: len(text) // 16 * 16])
    hmma = sum(low & 0xFFF == _HMMA for low, _ in words)
    return Resources(info[_REGISTERS], shared, info.get(_FRAME, 0), hmma)


def count_resident_blocks(used: Resources, threads: int, architecture: str) -> int:
    """How many blocks of ``threads`` a multiprocessor of ``architecture`` can hold at once."""
    limits = LIMITS[architecture]
    warps = threads // _WARP
    for_warp = -(-used.registers * _WARP // _REGISTERS_OF_A_WARP) * _REGISTERS_OF_A_WARP
    # From sm_80 on the system takes 1 KiB of shared memory for each block; from sm_90 on the file counts it already.
    shared = used.shared_bytes + (1024 if architecture in ("sm_80", "sm_86", "sm_89") else 0)
    by_registers = limits.registers // for_warp // warps
    return min(limits.blocks, limits.warps // warps, limits.shared_kib * 1024 // shared, by_registers)


def _read_sections(elf: bytes) -> Iterator[tuple[str, bytes]]:
    start = struct.unpack_from("<Q", elf, 0x28)[0]
    size, count, names_at = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, start + i * size) for i in range(count)]
    names = headers[names_at][4]
    for name, kind, _flags, _address, offset, length in headers:
        text = elf[names + name : elf.index(b"\0", names + name)].decode()
        # sections without content, such as shared memory, have a length and no bytes
        yield text, bytes(length) if kind == 8 else elf[offset : offset + length]


def _read_attributes(info: bytes) -> Iterator[tuple[int, int]]:
    """Kind and value of the attributes of a function, whose value is its symbol and a number."""
    at = 0
    while at < len(info):
        form, kind, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form != _VALUE_FOLLOWS:
            continue
        if size == 8:
            yield kind, struct.unpack_from("<II", info, at)[1]
        at += size

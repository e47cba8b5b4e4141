"""A kernel of a hundred bytes that qemu boots in a moment: it prints a text on the serial port and then does one thing.

By the Multiboot specification 0.6.96 (the address fields of its header stand in for ELF): 32-bit code at 1 MiB, interrupts off.
Opcodes: Intel SDM volume 2. Ports: 16550 at 0x3f8; 8042 at 0x64; PIIX4's PM1a at 0x604; pvpanic at 0x505.
"""

import struct

BASE = 0x100000
ENTRY = BASE + 32
MAGIC, BY_ADDRESS = 0x1BADB002, 1 << 16

PRINT = bytes.fromhex(
    "FA BE 00000000"  # cli; mov esi,text
    "AC 84C0 7414"  # next: lodsb; test al,al; jz done
    "88C4 66BAFD03"  # mov ah,al; mov dx,0x3fd
    "EC A820 74FB"  # wait: in al,dx; test al,0x20 (transmitter empty); jz wait
    "88E0 66BAF803 EE EBE7"  # mov al,ah; mov dx,0x3f8; out dx,al; jmp next
)
THEN = {
    "hang": "EBFE",  # jmp $
    "halt": "F4 EBFD",  # hlt, again for ever
    "reset": "B0FE E664 EBFE",  # mov al,0xfe; out 0x64,al
    "triple": "0F011D {nothing} CC EBFE",  # lidt [nothing]; int3
    "off": "66B80020 66BA0406 66EF EBFE",  # mov ax,0x2000 (SLP_EN); mov dx,0x604; out dx,ax
    "panic": "B001 66BA0505 EE EBFE",  # mov al,1; mov dx,0x505; out dx,al
    "panic, reset": "B001 66BA0505 EE B0FE E664 EBFE",
    "panics": "B001 66BA0505 EE EBFD",  # for ever
    "flood": "E9 {start}",  # all over again
}


def kernel(says: str, then: str) -> bytes:
    """Return a file for qemu's -kernel."""
    words = THEN[then].split()
    code_bytes = len(PRINT) + sum(4 if word.startswith("{") else len(word) // 2 for word in words)
    text = ENTRY + code_bytes
    data = says.encode() + b"\0"
    back = struct.pack("<i", -code_bytes).hex()
    nothing = struct.pack("<I", text + len(data)).hex()
    action = bytes.fromhex(THEN[then].format(nothing=nothing, start=back))
    code = PRINT.replace(bytes.fromhex("BE00000000"), b"\xbe" + struct.pack("<I", text)) + action
    assert len(code) == code_bytes
    header = struct.pack("<8I", MAGIC, BY_ADDRESS, -(MAGIC + BY_ADDRESS) & 0xFFFFFFFF, BASE, BASE, 0, 0, ENTRY)
    return (header + code + data + bytes(16)).ljust(4096, b"\0")

#!/usr/bin/env python3
"""Restores a tanner backup (format version 1). Slow, plain, written from src/format.md alone.

    python3 restore.py ID|- DIR [DIR ...] -o FILE [--identity FILE] [--read-key FILE] [--passphrase-file FILE]
                       [--no-encrypt] [--pure]
    python3 restore.py --self-check

ID is the backup's id or the beginning of it; "-" if the directories hold one backup only. Encrypted backups take the
modules `cryptography` and `pyrage`, and a key. Nothing but the id says whose signature to trust: give all of it, from a
trusted place. --no-encrypt takes a plain backup under the id of a signed one, as early writers made them.
Exit status: 0 restored, 5 not enough blocks, 1 anything else. FILE appears only when all is well.
"""
import hashlib
import hmac
import os
import re
import struct
import sys
from math import gcd


class Fail(Exception):
    """The backup, or the command, is no good: exit status 1."""


class NotEnough(Exception):
    """The blocks that are left do not determine the source: exit status 5."""


def need(condition, message):
    if not condition:
        raise Fail(message)


def note(message):
    print(message, file=sys.stderr)


# --- BLAKE3, modes hash and derive_key ---------------------------------------------------------
# Many chunks are hashed at once: a variable is one big integer with a 64-bit lane for each chunk,
# of which the upper half takes up carries and shifts until `mask` clears it.

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
SCHEDULE = [tuple(range(16))]
for _ in range(6):
    SCHEDULE.append(tuple(SCHEDULE[-1][i] for i in PERMUTATION))
MIX = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
       (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT, DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 1, 2, 4, 8, 32, 64


def to_lanes(numbers):
    return int.from_bytes(struct.pack("<%dQ" % len(numbers), *numbers), "little")


def from_lanes(lanes, n):
    return struct.unpack("<%dQ" % n, lanes.to_bytes(8 * n, "little"))


def compress(n, cv, block, counters, length, flags):
    """The compression function in n lanes; all arguments but length and flags are lanes."""
    one = ((1 << 64 * n) - 1) // ((1 << 64) - 1)
    mask = one * 0xFFFFFFFF
    v = list(cv) + [i * one for i in IV[:4]]
    v += [counters & mask, counters >> 32 & mask, length * one, flags * one]
    for schedule in SCHEDULE:
        for g, (ia, ib, ic, id_) in enumerate(MIX):
            a, b, c, d = v[ia], v[ib], v[ic], v[id_]
            for word, r, s in (schedule[2 * g], 16, 12), (schedule[2 * g + 1], 8, 7):
                a = a + b + block[word] & mask
                d ^= a
                d = (d >> r | d << 32 - r) & mask
                c = c + d & mask
                b ^= c
                b = (b >> s | b << 32 - s) & mask
            v[ia], v[ib], v[ic], v[id_] = a, b, c, d
    return [v[i] ^ v[i + 8] for i in range(8)]


def chunks(data, n, first, key, more):
    """Chaining values of n chunks of equal length, numbered from first."""
    length = len(data) // n
    count = max(1, -(-length // 64))
    words = struct.unpack("<%dI" % (16 * count * n), data.ljust(64 * count * n, b"\0"))
    cv = [to_lanes([i] * n) for i in key]
    for k in range(count):
        block = [to_lanes(words[16 * k + w::16 * count]) for w in range(16)]
        flags = more & ~ROOT | CHUNK_START * (k == 0) | (CHUNK_END | more & ROOT) * (k == count - 1)
        cv = compress(n, cv, block, to_lanes(range(first, first + n)), min(64, length - 64 * k), flags)
    return list(zip(*(from_lanes(word, n) for word in cv)))


def pure_blake3(data, key=IV, mode=0):
    last = max(len(data) - 1, 0) // 1024  # the number of the last chunk
    cvs = []
    for c in range(0, last, 1024):
        end = min(c + 1024, last)
        cvs += chunks(data[1024 * c:1024 * end], end - c, c, key, mode)
    cvs += chunks(data[1024 * last:], 1, last, key, mode | ROOT * (last == 0))
    while len(cvs) > 1:  # pairs from the left, an odd one goes up as it is
        n = len(cvs) // 2
        block = [to_lanes(w) for side in (0, 1) for w in zip(*cvs[side:2 * n:2])]
        flags = mode | PARENT | ROOT * (len(cvs) == 2)
        cv = compress(n, [to_lanes([i] * n) for i in key], block, 0, 64, flags)
        cvs[:2 * n] = zip(*(from_lanes(word, n) for word in cv))
    return struct.pack("<8I", *cvs[0])


def derive_key(context, material):
    key = struct.unpack("<8I", pure_blake3(context, IV, DERIVE_KEY_CONTEXT))
    return pure_blake3(material, key, DERIVE_KEY_MATERIAL)


try:
    from blake3 import blake3 as _module
    blake3 = lambda data: _module(data).digest()
except ImportError:
    blake3 = pure_blake3

BLAKE3_VECTORS = {  # official: input length, hash of the bytes 0, 1, ..., 250, 0, 1, ...
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    3073: "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3",
    102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
}


def self_check():
    for length, expected in BLAKE3_VECTORS.items():
        data = bytes(i % 251 for i in range(length))
        need(pure_blake3(data).hex() == expected, "BLAKE3 is wrong for %d bytes" % length)
        need(blake3(data).hex() == expected, "the blake3 module is wrong for %d bytes" % length)
    derived = derive_key(b"BLAKE3 2019-12-27 16:29:52 test vectors context", b"").hex()
    need(derived == "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d", "derive_key is wrong")
    return 0


# --- CBOR, as much as a manifest needs -------------------------------------------------------

def cbor_encode(x):
    def head(major, n):
        for extra, form, limit in ((0, ">B", 24), (24, ">BB", 1 << 8), (25, ">BH", 1 << 16),
                                   (26, ">BI", 1 << 32), (27, ">BQ", 1 << 64)):
            if n < limit:
                return struct.pack(form, major << 5 | (extra or n), *([n] if extra else []))
    if isinstance(x, int):
        return head(0, x)
    if isinstance(x, bytes):
        return head(2, len(x)) + x
    if isinstance(x, str):
        return head(3, len(x.encode())) + x.encode()
    if isinstance(x, list):
        return head(4, len(x)) + b"".join(map(cbor_encode, x))
    return head(5, len(x)) + b"".join(cbor_encode(key) + cbor_encode(x[key]) for key in sorted(x))


def cbor_decode(data):
    """The one item that data holds; anything but preferred serialization is refused."""
    at = 0

    def take(n):
        nonlocal at
        need(n <= len(data) - at, "manifest: CBOR is cut off")
        at += n
        return data[at - n:at]

    def item(depth):
        major, n = divmod(take(1)[0], 32)
        need(major <= 5 and major != 1 and n < 28 and depth < 4, "manifest: CBOR not allowed here")
        if n >= 24:
            n = int.from_bytes(take(1 << n - 24), "big")
        if major == 0:
            return n
        if major == 2:
            return take(n)
        if major == 3:
            try:
                return take(n).decode()
            except UnicodeDecodeError:
                raise Fail("manifest: text is not UTF-8")
        if major == 4:
            return [item(depth + 1) for _ in range(n)]
        result = {}
        for _ in range(n):
            key = item(depth + 1)
            need(isinstance(key, (int, str)) and all(type(key) is type(other) for other in result),
                 "manifest: a map has keys of the wrong type")
            result[key] = item(depth + 1)
        return result

    result = item(0)
    need(cbor_encode(result) == data, "manifest: CBOR is not in preferred serialization")
    return result


# --- Signatures and keys (section 2.1 and 2.2) ------------------------------------------------

def has_signed(device, message, signature):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    try:
        Ed25519PublicKey.from_public_bytes(device).verify(signature, b"tanner signed manifest 1" + message)
        return True
    except (InvalidSignature, ValueError):
        return False


def hkdf(key, salt, info):
    """HKDF-SHA256 of 32 bytes, which is one block."""
    prk = hmac.digest(salt, key, hashlib.sha256)
    return hmac.digest(prk, info + b"\1", hashlib.sha256)


def aes_gcm_open(key, sealed, context):
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    need(len(sealed) >= 28, "manifest: the private part is too short")
    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], context)
    except InvalidTag:
        raise Fail("manifest: the key does not open its private part")


def aes_ctr(key, at, data):
    """Decrypts what is at this offset of the source."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    counter = (at // 16).to_bytes(16, "big")
    return Cipher(algorithms.AES(key), modes.CTR(counter)).decryptor().update(bytes(at % 16) + data)[at % 16:]


def bech32_decode(text):
    """Prefix and bytes."""
    digits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    prefix, _, data = text.rpartition("1")
    need(prefix and len(data) >= 6 and set(data) <= set(digits), "a key is malformed")
    values, check = [digits.index(c) for c in data], 1
    for value in [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + values:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator * (top >> i & 1)
    bits = "".join(format(value, "05b") for value in values[:-6])
    used = len(bits) // 8 * 8
    need(check == 1 and len(bits) - used < 5 and "1" not in bits[used:], "a key is mistyped")
    return prefix, bytes(int(bits[i:i + 8], 2) for i in range(0, used, 8))


class Keys:
    def __init__(self):
        self.identities, self.passphrases, self.file_keys = [], [], {}

    def add(self, kind, path):
        with open(path) as file:
            lines = [line.strip() for line in file]
        if kind == "--passphrase-file":
            self.passphrases.append(lines[0])
            return
        for line in lines:
            if line and not line.startswith("#"):
                if kind == "--identity":
                    self.identities.append(line)
                else:
                    prefix, key = bech32_decode(line)
                    need(prefix == "tanner-read" and len(key) == 81 and key[0] == 1, path + " is no read key")
                    self.file_keys[key[1:17].hex()] = key[17:49]

    def file_key(self, id, wrapped):
        if id in self.file_keys:
            return self.file_keys[id]
        import pyrage
        identities = [pyrage.x25519.Identity.from_str(text) for text in self.identities]
        for file in wrapped:
            scrypt = re.match(rb"age-encryption.org/v1\n-> scrypt \S+ ([0-9]+)\n", file)
            need(not scrypt or int(scrypt[1]) <= 18, "manifest: a passphrase's work factor is too high")
            ways = [lambda: pyrage.decrypt(file, identities)] if identities and not scrypt else []
            ways += [lambda: pyrage.passphrase.decrypt(file, text) for text in self.passphrases if scrypt]
            for way in ways:
                try:
                    key = way()
                except Exception as error:  # the module's own kinds
                    note("a wrapped key: %s" % error)
                    continue
                need(len(key) == 32, "manifest: a wrapped key is malformed")
                return key
        raise Fail("no key at hand opens the backup: name one with --identity, --read-key or --passphrase-file")


# --- Manifest (section 2) and geometry (section 3) -------------------------------------------

MANIFEST_LIMIT = 64 * 4096 + 4096


def is_prime(q):
    """Miller-Rabin with bases that make it exact below 2**64."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    if q <= 37 or q % 2 == 0:
        return q in bases
    s = ((q - 1) & (1 - q)).bit_length() - 1
    return all(pow(a, q >> s, q) == 1 or any(pow(a, q >> r, q) == q - 1 for r in range(1, s + 1)) for a in bases)


CODE_KEYS = {1: (4,), 2: (5, 6, 7, 8), 3: (5, 6, 8)}  # shift, coupled, rfc5170


class Manifest:
    def __init__(self, data, blake3, no_encrypt=False):
        need(len(data) >= 16 and data[:6] == b"tanner", "manifest: not a tanner manifest")
        version, mode, length = struct.unpack("<HB3xI", data[6:16])
        need(version == 1, "manifest: version %d is not known" % version)
        need(data[9:12] == bytes(3), "manifest: reserved bytes are not zero")
        need(mode <= 1, "manifest: mode %d is not known" % mode)
        need(len(data) <= MANIFEST_LIMIT, "manifest: too long")
        need(len(data) == 16 + length + (96 if mode else 32), "manifest: wrong length")
        self.signed, device = mode == 1, data[-96:-64]
        if self.signed:
            need(has_signed(device, data[:-64], data[-64:]), "manifest: damaged or forged (signature)")
        else:
            need(blake3(data[:-32]) == data[-32:], "manifest: damaged (seal)")
        body = cbor_decode(data[16:16 + length])
        need(isinstance(body, list) and len(body) == 3 and isinstance(body[0], bytes)
             and isinstance(body[1], bytes) and isinstance(body[2], list), "manifest: wrong body")
        public = cbor_decode(body[0])
        self.check_public(public)
        self.geometry()
        need(len(data) <= 64 * self.n + 8192, "manifest: too long")
        self.wrapped, self.private, self.context = body[2], body[1], data[:16] + body[0]
        if self.signed:
            self.generation = public[15]
            need(len(public[14]) == 16 and public[15] >= 1, "manifest: salt or generation is not allowed")
            certified = bytearray(derive_key(b"tanner backup id 1", device + public[14])[:16])
            certified[0] |= 0x80
            need(certified == public[0], "manifest: forged (its id does not certify its signer)")
            need(all(isinstance(key, bytes) for key in self.wrapped) and 1 <= len(self.wrapped) <= 2
                 and sum(map(len, self.wrapped)) <= 1536, "manifest: wrong wrapped keys")
        else:
            need(public[0][0] < 0x80 or no_encrypt, "manifest: plain, under the id of a signed backup (--no-encrypt?)")
            need(self.wrapped == [], "manifest: wrapped keys in a plain manifest")
            self.check_private(cbor_decode(self.private))

    def open(self, keys):
        """Checks what is encrypted; to be called before anything of it is used."""
        if self.signed:
            id, file_key = bytes.fromhex(self.id), keys.file_key(self.id, self.wrapped)
            private = aes_gcm_open(hkdf(file_key, id, b"tanner private 1"), self.private, self.context)
            self.check_private(cbor_decode(private))
            names = [(s, b" epoch " + name) for s, name in self.epochs]
            self.data_keys = [(s, hkdf(file_key, id, b"tanner data 1" + name)) for s, name in [(0, b"")] + names]

    def decrypt(self, source):
        """What each key covers of each data block."""
        ends = [s for s, key in self.data_keys[1:]] + [self.L]
        plain = bytearray()
        for b in range(self.k):
            for (s, key), end in zip(self.data_keys, ends):
                at = (b * self.L + s) * self.u
                plain += aes_ctr(key, at, source[at:(b * self.L + end) * self.u])
        return bytes(plain)

    @staticmethod
    def check_fields(part, types, optional=()):
        need(isinstance(part, dict) and part.keys() <= types.keys(), "manifest: a key does not belong there")
        for key, kind in types.items():
            need(key in part or key in optional, "manifest: key %d is missing" % key)
            need(isinstance(part.get(key, kind()), kind), "manifest: key %d has the wrong type" % key)

    def check_public(self, p):
        need(isinstance(p, dict) and p.get(1) in CODE_KEYS, "manifest: code is not known")
        ints = (1, 2, 3, *CODE_KEYS[p[1]], 9, 10, 11, 12)
        signed = {14: bytes, 15: int} if self.signed else {}
        striped = {16: int} if p.get(11) == 1 else {}
        self.check_fields(p, {0: bytes, 13: bytes, **dict.fromkeys(ints, int), **signed, **striped})
        self.code, self.k, self.m = p[1], p[2], p[3]
        self.n = n = self.k + self.m
        need(len(p[0]) == 16, "manifest: id is not 16 bytes")
        need(self.k >= 1 and self.m >= 1 and n <= 4096, "manifest: k or m out of range")
        self.G = 1
        if self.code == 1:
            self.q = q = p[4]
            need(q == 0 or max(self.k, self.m) <= q <= 16384 and is_prime(q), "manifest: q is not allowed")
            need(self.k * self.m <= 1 << 21, "manifest: k and m out of range")
            self.D = max(self.shift(b, j) for b in range(self.k) for j in range(self.m))
        elif self.code == 2:
            self.N1, self.P, self.D, self.seed = p[5], p[6], p[7], p[8]
            need(self.N1 % 2 == 0 and 2 <= self.N1 <= min(64, self.D + 1), "manifest: N1 out of range")
            need(1 <= self.P and self.P * (self.k * self.N1 + self.m) <= 1 << 21, "manifest: P out of range")
        else:
            self.N1, self.G, self.D, self.seed = p[5], p[6], 0, p[8]
            need(1 <= self.G <= 31 and self.k * self.G >= 2, "manifest: G out of range")
            need(3 <= self.N1 <= min(10, self.m * self.G), "manifest: N1 out of range")
            need(1 <= self.seed <= 2**31 - 2, "manifest: seed out of range")
        need(self.D <= 16384, "manifest: D out of range")
        self.id, self.u, self.R, self.size = p[0].hex(), p[9], p[10], p[12]
        need(self.u in (1, 2, 4, 8, 16, 32, 64), "manifest: u is not allowed")
        need(self.R % 16 == 0 and self.R % self.G == 0 and max(16, self.D) <= self.R < 1 << 32, "manifest: R out of range")
        need(p[11] <= 1, "manifest: layout is not known")
        self.c = p.get(16)
        need((self.c is not None) == (p[11] == 1), "manifest: rows of another layout")
        if self.c is not None:
            need(self.u == 64, "manifest: u is not allowed")
            need(self.c >= 1 and self.c % 16 == 0 and self.c % self.G == 0 and self.R % self.c == 0,
                 "manifest: c is not allowed")
        need(self.size <= (1 << 50 if self.u == 64 else 1 << 26), "manifest: size out of range")
        need(len(p[13]) == 32 * n, "manifest: wrong number of hashes")
        self.hashes = [p[13][32 * b:32 * b + 32] for b in range(n)]

    def check_private(self, p):
        self.check_fields(p, {0: str, 1: int, 2: int, 3: bytes, 4: bytes, 5: list, 6: bytes, 7: int},
                          optional=(2, 4, 5, 6, 7))
        name = p[0]
        need(len(name.encode()) <= 1024 and not set(name) & {"/", "\0"} and name not in (".", ".."),
             "manifest: name is not allowed")
        need(len(p[3]) == 32, "manifest: hash is not 32 bytes")
        self.source_hash = p[3]
        need(p.get(7, 1) == 1, "manifest: form is not known")
        need((4 in p) == (5 in p), "manifest: places without labels, or labels without places")
        if 4 in p:
            self.check_places(p[4], p[5])
        self.epochs = [struct.unpack("<Q8s", p[6][at:at + 16].ljust(16)) for at in range(0, len(p.get(6, b"")), 16)]
        if 6 in p:
            steps = [s for s, name in self.epochs]
            need(self.c is None, "manifest: epochs of a stream")
            need(self.signed and 1 <= len(steps) <= 255 and len(p[6]) == 16 * len(steps), "manifest: wrong epochs")
            need(steps == sorted(set(steps)) and steps[-1] < self.L, "manifest: epochs out of order")

    def check_places(self, places, labels):
        """Where the blocks were put: of no use here, but a manifest that is wrong in it is none."""
        need(len(places) == 2 * self.n, "manifest: wrong number of places")
        stores = 0
        for store in struct.unpack("<%dH" % self.n, places):
            need(store <= stores, "manifest: stores are not numbered in order")
            stores = max(stores, store + 1)
        need(2 <= stores == len(labels), "manifest: wrong number of stores")
        need(len(cbor_encode(labels)) <= 16 * self.n + 1024, "manifest: labels are too long")
        for text in (text for store in labels for pair in self.pairs(store) for text in pair):
            need(isinstance(text, str) and 1 <= len(text.encode()) <= 64, "manifest: a label is no short text")
            need(not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text), "manifest: a label has control characters")
        names = {label for store in labels for label in store}
        need(len(names) <= 16 and "store" not in names, "manifest: labels are not allowed")

    @staticmethod
    def pairs(store):
        need(isinstance(store, dict), "manifest: labels are no map")
        return store.items()

    def shift(self, b, j):
        return b * j % self.q if self.q else b * j

    def geometry(self):
        row = self.k * self.c * self.u if self.c else 1
        full = max(-(-self.size // row) - 1, 0) if self.c else 0
        last = self.size - full * row
        e = -(-last // (self.k * self.u))
        unit = 1 if self.u < 64 else 16 if self.c or e < 16384 else 64
        unit *= self.G // gcd(unit, self.G)
        e = -(-e // unit) * unit
        self.L = full * (self.c or 0) + e
        self.F = -(-self.L // self.R)
        # Of each row, where it begins in the source, and how many bytes of each data block it has.
        self.rows = [(i * row, self.c * self.u) for i in range(full)] + [(full * row, e * self.u)]
        self.lengths = [sum(end - start for start, end in self.ranges(b)) for b in range(self.k)]
        self.lengths += [(self.L + self.F * self.D) * self.u] * self.m

    def ranges(self, b):
        """Where data block b is in the source, row by row."""
        for start, part in self.rows:
            yield min(start + b * part, self.size), min(start + (b + 1) * part, self.size)

    def source(self, blocks):
        """The source, of its data blocks."""
        source = bytearray(self.size)
        for b in range(self.k):
            at = 0
            for start, end in self.ranges(b):
                source[start:end] = blocks[b][at:at + end - start]
                at += end - start
        return bytes(source)


# --- The coupled code's table (section 4.2) --------------------------------------------------

class Splitmix64:
    def __init__(self, seed):
        self.state = seed

    def draw(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) % (1 << 64)
        z = (self.state ^ self.state >> 30) * 0xBF58476D1CE4E5B9 % (1 << 64)
        z = (z ^ z >> 27) * 0x94D049BB133111EB % (1 << 64)
        return z ^ z >> 31

    def rnd(self, c):
        return (self.draw() >> 32) * c >> 32

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = self.rnd(i + 1)
            items[i], items[j] = items[j], items[i]
        return items


def coupled_table(k, m, N1, P, D, seed):
    """(pi, rows): pi[f][i] is the parity block of row i of phase f, rows[f][i] its taps (b, delay)."""
    random = Splitmix64(seed)
    pi = [random.shuffle(list(range(m))) for _ in range(P)]
    delays = []
    for b in range(k):
        delays.append([])
        for l in range(N1):
            a = l * (D + 1) // N1
            e = max(a + 1, (l + 1) * (D + 1) // N1)
            delays[b].append(a + random.rnd(e - a))
    rows = []
    for _ in range(P):
        pairs = random.shuffle([(b, l) for b in range(k) for l in range(N1)])
        slots = [h % m for h in range(k * N1)]
        taps, blocks = [[] for _ in range(m)], [set() for _ in range(m)]
        for b, l in pairs:
            i, tries = random.rnd(len(slots)), 0
            while b in blocks[slots[i]] and tries < 200:
                i, tries = random.rnd(len(slots)), tries + 1
            taps[slots[i]].append((b, delays[b][l]))
            blocks[slots[i]].add(b)
            slots[i] = slots[-1]
            slots.pop()
        rows.append(taps)
    return pi, rows


# --- The RFC 5170 code's table (section 4.3) -------------------------------------------------

class ParkMiller:
    def __init__(self, seed):
        self.state = seed

    def rnd(self, c):
        self.state = self.state * 16807 % 0x7FFFFFFF
        return self.state * c // 0x7FFFFFFF


def rfc5170_table(K, M, N1, seed):
    """(rows, places): rows[i] are the source symbols of row i, places[i] is where p_i is stored."""
    random = ParkMiller(seed)
    u, t = [h % M for h in range(N1 * K)], 0
    rows = [[] for _ in range(M)]
    for j in range(K):
        for _ in range(N1):
            if any(j not in rows[row] for row in u[t:]):
                i = t + random.rnd(len(u) - t)
                while j in rows[u[i]]:
                    i = t + random.rnd(len(u) - t)
                rows[u[i]].append(j)
                u[i] = u[t]
                t += 1
            else:
                i = random.rnd(M)
                while j in rows[i]:
                    i = random.rnd(M)
                rows[i].append(j)
    for row in rows:
        while len(row) < 2:
            j = random.rnd(K)
            if j not in row:
                row.append(j)
    places = list(range(M))
    for i in range(M):
        r = random.rnd(M)
        places[i], places[r] = places[r], places[i]
    return rows, places


# --- Solving (section 5). A symbol is an int; an equation is [set of unknowns, the XOR of them] --

def shift_equations(mf, steps, parity, add):
    for t in range(steps + mf.D):
        for j, symbols in parity.items():
            equation = [set(), symbols[t]]
            for b in range(mf.k):
                add(equation, b, t - mf.shift(b, j))
            yield equation


def coupled_equations(mf, steps, parity, add, pi, rows):
    equation = [set(), 0]
    for t in range(steps + mf.D):
        for j, taps in zip(pi[t % mf.P], rows[t % mf.P]):
            for b, delay in taps:
                add(equation, b, t - delay)
            if j in parity:  # ends one equation and, as the accumulator goes on, begins the next
                equation[1] ^= parity[j][t]
                yield equation
                equation = [set(), parity[j][t]]
    yield equation


def rfc5170_equations(mf, steps, parity, add, rows, places):
    for first in range(0, steps, mf.G):  # every stripe by itself
        equation = [set(), 0]
        for row, place in zip(rows, places):
            for j in row:
                add(equation, j // mf.G, first + j % mf.G)
            if place // mf.G in parity:
                value = parity[place // mf.G][first + place % mf.G]
                equation[1] ^= value
                yield equation
                equation = [set(), value]


def solve_frame(mf, steps, known, counts, parity, table):
    """known: symbols of data blocks; counts: how many are unknown of each other; parity: symbols.
    Returns {t * len(counts) + place of b in counts: x_b(t)}."""
    places = {b: i for i, b in enumerate(counts)}

    def add(equation, b, t):  # adds x_b(t)
        if b in known:
            if 0 <= t < steps:
                equation[1] ^= known[b][t]
        elif 0 <= t < counts[b]:
            equation[0] ^= {t * len(counts) + places[b]}

    make = {1: shift_equations, 2: coupled_equations, 3: rfc5170_equations}[mf.code]
    equations = list(make(mf, steps, parity, add, *table))
    found = peel(equations)
    found.update(eliminate(equations))
    if len(found) < sum(counts.values()):
        raise NotEnough
    return found


def peel(equations):
    """Solves equations of one unknown until there are none; returns what it found."""
    found, where = {}, {}
    for equation in equations:
        for x in equation[0]:
            where.setdefault(x, []).append(equation)
    ready = [equation for equation in equations if len(equation[0]) == 1]
    while ready:
        unknowns, value = ready.pop()
        if unknowns:
            x = next(iter(unknowns))
            found[x] = value
            for equation in where[x]:
                equation[0].remove(x)
                equation[1] ^= value
                if len(equation[0]) == 1:
                    ready.append(equation)
    return found


def eliminate(equations):
    """Gauss over GF(2). Row x holds (a, value): bit i of a is unknown x + i, bit 0 is set. As the
    equations come in the order of their steps, rows are not longer than a few times D."""
    names = sorted(set().union(*(unknowns for unknowns, _ in equations)))
    number = {name: x for x, name in enumerate(names)}
    rows = {}
    for unknowns, value in equations:
        x = min((number[name] for name in unknowns), default=0)
        a = 0
        for name in unknowns:
            a |= 1 << number[name] - x
        while a:
            zeros = (a & -a).bit_length() - 1
            a >>= zeros
            x += zeros
            if x not in rows:
                rows[x] = (a, value)
                break
            a ^= rows[x][0]
            value ^= rows[x][1]
        else:
            need(value == 0, "the blocks contradict each other although their hashes are right")
    if len(rows) < len(names):
        raise NotEnough
    values = [0] * len(names)
    for x in range(len(names) - 1, -1, -1):
        a, values[x] = rows[x]
        for i, bit in enumerate(bin(a)[:1:-1]):
            if bit == "1" and i:
                values[x] ^= values[x + i]
    return dict(zip(names, values))


def restore_data(mf, blocks):
    """Adds the data blocks that are not in blocks."""
    lost = [b for b in range(mf.k) if b not in blocks]
    live = [j for j in range(mf.m) if mf.k + j in blocks]
    frames = []
    for first in range(0, mf.L if any(mf.lengths[b] for b in lost) else 0, mf.R):
        steps = min(mf.R, mf.L - first)
        counts = {b: min(max(-(-mf.lengths[b] // mf.u) - first, 0), steps) for b in lost}
        if sum(counts.values()) > len(live) * (steps + mf.D):
            raise NotEnough
        frames.append((first, steps, counts))
    table = ()
    if frames and mf.code == 2:
        table = coupled_table(mf.k, mf.m, mf.N1, mf.P, mf.D, mf.seed)
    elif frames and mf.code == 3:
        table = rfc5170_table(mf.k * mf.G, mf.m * mf.G, mf.N1, mf.seed)

    def symbols(block, first, count):
        block = block[first * mf.u:(first + count) * mf.u].ljust(count * mf.u, b"\0")
        return [int.from_bytes(block[i:i + mf.u], "little") for i in range(0, len(block), mf.u)]

    restored = {b: bytearray(-(-mf.lengths[b] // mf.u) * mf.u) for b in lost}
    for f, (first, steps, counts) in enumerate(frames):
        known = {b: symbols(blocks[b], first, steps) for b in range(mf.k) if b in blocks}
        parity = {j: symbols(blocks[mf.k + j], f * (mf.R + mf.D), steps + mf.D) for j in live}
        for x, value in solve_frame(mf, steps, known, counts, parity, table).items():
            t, place = divmod(x, len(lost))
            at = (first + t) * mf.u
            restored[lost[place]][at:at + mf.u] = value.to_bytes(mf.u, "little")
    for b in lost:
        blocks[b] = bytes(restored[b][:mf.lengths[b]])
        need(not any(restored[b][mf.lengths[b]:]), "data block %d: bytes behind its end are not zero" % b)


# --- Stores and the command ------------------------------------------------------------------

def find_manifest(wanted, stores, no_encrypt, blake3):
    paths = {}
    for store in stores:
        try:
            for name in os.listdir(store):
                path = os.path.join(store, name, "manifest")
                if re.fullmatch("[0-9a-f]{32}", name) and os.path.exists(path):
                    if wanted == "-" or name.startswith(wanted):
                        paths.setdefault(name, []).append(path)
        except OSError as error:
            note(error)
    need(paths, "no such backup")
    need(len(paths) == 1, "more than one backup fits: " + " ".join(sorted(paths)))
    [(name, copies)] = paths.items()
    good = []
    for path in copies:
        try:
            with open(path, "rb") as file:
                data = file.read(MANIFEST_LIMIT + 1)
            manifest = Manifest(data, blake3, no_encrypt)
            need(manifest.id == name, "manifest: it is of another backup, " + manifest.id)
            good.append((data, manifest))
        except (Fail, OSError) as error:
            reason = "%s: %s" % (path, error)
            note(reason)
    need(good, "no good manifest; the last one: %s" % (reason if not good else ""))
    if good[0][1].signed:
        newest = max(manifest.generation for data, manifest in good)
        winners = {data: manifest for data, manifest in good if manifest.generation == newest}
        need(len(winners) == 1, "two manifests of generation %d differ: trust none" % newest)
        return list(winners.values())[0]
    stored = [data for data, manifest in good]
    most = max(map(stored.count, stored))
    winners = {data: manifest for data, manifest in good if stored.count(data) == most}
    need(len(winners) == 1, "manifests differ and none is on most stores: name those that you trust")
    return list(winners.values())[0]


def read_block(mf, b, stores, blake3):
    """Block b, or None; says why."""
    reasons = []
    for store in stores:
        path = os.path.join(store, mf.id, str(b))
        try:
            with open(path, "rb") as file:
                if os.path.getsize(path) == mf.lengths[b]:
                    data = file.read()
                    if blake3(data) == mf.hashes[b]:
                        return data
                    reasons.append("wrong hash: " + path)
                else:
                    reasons.append("wrong length: " + path)
        except FileNotFoundError:
            pass
        except OSError as error:
            reasons.append(str(error))
    note("%s block %d: %s" % ("data" if b < mf.k else "parity", b, ", ".join(reasons) or "missing"))


def write(output, data):
    folder, name = os.path.split(os.path.abspath(output))
    temporary = os.path.join(folder, ".%s.%d.part" % (name[:60], os.getpid()))
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, output)
    except OSError:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def restore(wanted, stores, output, keys, no_encrypt, blake3):
    mf = find_manifest(wanted, stores, no_encrypt, blake3)
    mf.open(keys)
    blocks = {b: read_block(mf, b, stores, blake3) for b in range(mf.n)}
    blocks = {b: data for b, data in blocks.items() if data is not None}
    lost = [b for b in range(mf.k) if b not in blocks]
    try:
        restore_data(mf, blocks)
    except NotEnough:
        raise NotEnough("not enough blocks: %d good ones of %d, of which %d are data" % (len(blocks), mf.n, mf.k))
    for b in lost:
        need(blake3(blocks[b]) == mf.hashes[b], "data block %d is wrong after restoring" % b)
        note("data block %d: %s" % (b, "recomputed" if blocks[b] else "is empty"))
    source = mf.source(blocks)
    if mf.signed:
        source = mf.decrypt(source)
    need(blake3(source) == mf.source_hash, "the source is wrong after restoring")
    write(output, source)


def main(arguments):
    try:
        if arguments == ["--self-check"]:
            return self_check()
        names, output, hash_function, keys, no_encrypt = [], None, blake3, Keys(), False
        arguments = iter(arguments)
        for argument in arguments:
            if argument == "-o":
                output = next(arguments, None)
            elif argument == "--pure":
                hash_function = pure_blake3
            elif argument == "--no-encrypt":
                no_encrypt = True
            elif argument in ("--identity", "--read-key", "--passphrase-file"):
                keys.add(argument, next(arguments, ""))
            else:
                need(argument == "-" or not argument.startswith("-"), "unknown option " + argument)
                names.append(argument)
        need(len(names) >= 2 and output, "usage: restore.py ID|- DIR [DIR ...] -o FILE [options]")
        restore(names[0], names[1:], output, keys, no_encrypt, hash_function)
        return 0
    except NotEnough as error:
        note("restore.py: %s" % error)
        return 5
    except (Fail, OSError, ImportError, MemoryError, OverflowError, ValueError) as error:
        note("restore.py: %s" % (" ".join(str(error).split()) or type(error).__name__))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

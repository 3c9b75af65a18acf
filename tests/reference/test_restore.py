"""Tests of restore.py with a small encoder, also written from src/format.md alone.

    python3 -m unittest discover tests/reference
"""
import contextlib
import functools
import hashlib
import io
import os
import random
import struct
import sys
import tempfile
import unittest
from math import lcm

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import restore as reference
from restore import blake3, cbor_encode

reference.coupled_table = functools.lru_cache(None)(reference.coupled_table)  # for speed
ID = bytes(range(0x20, 0x30))


def source_of(size):
    return bytes((i % 251 + i // 251) % 256 for i in range(size))


def xor_into(target, at, symbol):
    for i, byte in enumerate(symbol):
        target[at + i] ^= byte


def encode(source, k, m, u, R, q=None, N1=None, P=None, D=None, seed=None, G=None, c=None):
    """The blocks and the fields of the public part; byte by byte, as sections 3 and 4 say it."""
    data, L = [b""] * k, 0
    rows = [source] if c is None else [source[at:at + k * c * u] for at in range(0, len(source), k * c * u)]
    for row in rows:
        steps = (len(row) + k * u - 1) // (k * u)
        unit = lcm(G or 1, 1 if u < 64 else 16 if c or steps < 16384 else 64)
        steps = (steps + unit - 1) // unit * unit
        data = [block + row[b * steps * u:(b + 1) * steps * u] for b, block in enumerate(data)]
        L += steps
    layout = {11: 0} if c is None else {11: 1, 16: c}
    padded = [block + bytes(L * u - len(block)) for block in data]
    if q is not None:
        delay = [[b * j % q if q else b * j for j in range(m)] for b in range(k)]
        D = max(max(row) for row in delay)
    elif G:
        blocks = data + encode_rfc5170(padded, m, u, G, *reference.rfc5170_table(k * G, m * G, N1, seed))
        return blocks, {0: ID, 1: 3, 2: k, 3: m, 5: N1, 6: G, 8: seed, 9: u, 10: R, **layout, 12: len(source),
                        13: b"".join(map(blake3, blocks))}
    else:
        pi, rows = reference.coupled_table(k, m, N1, P, D, seed)
    parity = [b""] * m
    for first in range(0, L, R):
        steps = min(R, L - first)
        x = [[block[(first + t) * u:(first + t + 1) * u] for t in range(steps)] for block in padded]
        out = [bytearray((steps + D) * u) for _ in range(m)]
        acc = bytearray(u)
        for t in range(steps + D):
            if q is not None:
                for j in range(m):
                    for b in range(k):
                        if 0 <= t - delay[b][j] < steps:
                            xor_into(out[j], t * u, x[b][t - delay[b][j]])
            else:
                for i in range(m):
                    for b, d in rows[t % P][i]:
                        if 0 <= t - d < steps:
                            xor_into(acc, 0, x[b][t - d])
                    out[pi[t % P][i]][t * u:(t + 1) * u] = acc
        assert not any(acc)
        parity = [before + bytes(now) for before, now in zip(parity, out)]
    blocks = data + parity
    public = {0: ID, 1: 1, 2: k, 3: m, 4: q} if q is not None else \
             {0: ID, 1: 2, 2: k, 3: m, 5: N1, 6: P, 7: D, 8: seed}
    public.update({9: u, 10: R, **layout, 12: len(source), 13: b"".join(map(blake3, blocks))})
    return blocks, public


def encode_rfc5170(data, m, u, G, rows, places):
    """The parity blocks, each stripe as a source block of RFC 5170."""
    parity = [b""] * m
    for at in range(0, len(data[0]), G * u):
        packets = [block[at:at + G * u] for block in data]
        source = [packet[g * u:(g + 1) * u] for packet in packets for g in range(G)]
        stored, repair = [None] * (m * G), bytearray(u)
        for row, place in zip(rows, places):
            for j in row:
                xor_into(repair, 0, source[j])
            stored[place] = bytes(repair)
        for q in range(m):
            parity[q] += b"".join(stored[q * G:(q + 1) * G])
    return parity


def seal(body, version=1, mode=0):
    head = b"tanner" + version.to_bytes(2, "little") + bytes([mode, 0, 0, 0]) + len(body).to_bytes(4, "little")
    return head + body + blake3(head + body)


def private_of(source):
    return {0: "näme", 1: 1700000000, 3: blake3(source)}


def manifest_of(public, private):
    return seal(cbor_encode([cbor_encode(public), cbor_encode(private), []]))


SHIFT = [dict(k=3, m=3, q=0), dict(k=4, m=3, q=5), dict(k=1, m=2, q=0), dict(k=5, m=2, q=7), dict(k=2, m=4, q=0)]
COUPLED = [dict(k=4, m=4, N1=4, P=8, D=15, seed=1), dict(k=6, m=3, N1=4, P=1, D=7, seed=2**64 - 1),
           dict(k=3, m=5, N1=8, P=32, D=31, seed=7), dict(k=5, m=4, N1=6, P=5, D=20, seed=3),
           dict(k=1, m=3, N1=2, P=3, D=1, seed=0)]
RFC5170 = [dict(k=4, m=4, N1=7, G=16, seed=1), dict(k=3, m=5, N1=5, G=8, seed=2**31 - 2),
           dict(k=5, m=4, N1=9, G=4, seed=21), dict(k=2, m=3, N1=5, G=31, seed=7)]
SIZES = (0, 1, 69, 4095, 4097)


class Base(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.count = 0

    def store(self, manifest, blocks, stores=2, name=ID.hex()):
        """New store directories: the manifest in each, the blocks dealt round; blocks is a dict."""
        self.count += 1
        paths = [os.path.join(self.folder.name, "%d-%d" % (self.count, s)) for s in range(stores)]
        for s, path in enumerate(paths):
            os.makedirs(os.path.join(path, name))
            if manifest is not None:
                with open(os.path.join(path, name, "manifest"), "wb") as file:
                    file.write(manifest)
            for b, block in blocks.items():
                if b % stores == s:
                    with open(os.path.join(path, name, str(b)), "wb") as file:
                        file.write(block)
        return paths

    def run_restore(self, paths, wanted="-", more=()):
        """Exit status, the restored file or None, standard error."""
        output = os.path.join(self.folder.name, "out")
        if os.path.exists(output):
            os.remove(output)
        with contextlib.redirect_stderr(io.StringIO()) as err:
            status = reference.main([wanted, *paths, "-o", output, *more])
        self.assertNotIn("Traceback", err.getvalue())
        self.assertFalse([name for name in os.listdir(self.folder.name) if name.endswith(".part")])
        if not os.path.exists(output):
            return status, None, err.getvalue()
        with open(output, "rb") as file:
            return status, file.read(), err.getvalue()

    def small(self):
        source = source_of(700)
        blocks, public = encode(source, k=3, m=2, u=8, R=16, q=0)
        return source, dict(enumerate(blocks)), public, private_of(source)


class Codes(Base):
    def losses(self, shapes, spare, per_shape):
        draw = random.Random(1)
        for shape in shapes:
            for size in SIZES:
                for u, R in ((1, 1 << 20), (8, 32), (64, 16), (1, 256)):
                    if u == 1 and size > 100 and (R > 256) != (shape is shapes[0]):
                        continue  # slow ones only once
                    source = source_of(size)
                    R = max(R, 32 if shape.get("D", 0) > 16 else 16)  # a frame is as long as its tail
                    R = -(-R // lcm(16, shape.get("G", 1))) * lcm(16, shape.get("G", 1))
                    blocks, public = encode(source, u=u, R=R, **shape)
                    n = len(blocks)
                    for _ in range(per_shape):
                        left = draw.sample(range(n), min(shape["k"] + spare, n))
                        chosen = {b: blocks[b] for b in left}
                        for b in draw.sample(range(n), 2):  # a bad block is as good as none
                            if b not in left and blocks[b]:
                                bad = bytearray(blocks[b])
                                bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
                                chosen[b] = bytes(bad)
                        paths = self.store(manifest_of(public, private_of(source)), chosen)
                        status, result, err = self.run_restore(paths)
                        self.assertEqual((status, result), (0, source), (shape, size, u, R, left, err))

    def test_shift_any_k(self):
        self.losses(SHIFT, 0, 2)

    def test_coupled_any_k_and_one(self):
        self.losses(COUPLED, 1, 2)

    def test_rfc5170_any_k_and_two(self):
        self.losses(RFC5170, 2, 2)

    def test_rows_of_a_stream(self):
        draw = random.Random(4)
        for shape, R, c in ((SHIFT[0], 16, 16), (SHIFT[1], 64, 32), (COUPLED[0], 32, 16), (RFC5170[0], 48, 16)):
            row = shape["k"] * c * 64
            for size in (0, 1, row - 1, row, row + 1, 2 * row + 1024, 3 * row - 63, 3 * row):
                source = source_of(size)
                blocks, public = encode(source, u=64, R=R, c=c, **shape)
                left = draw.sample(range(len(blocks)), min(shape["k"] + 2, len(blocks)))
                paths = self.store(manifest_of(public, private_of(source)), {b: blocks[b] for b in left})
                status, result, err = self.run_restore(paths)
                self.assertEqual((status, result), (0, source), (shape, size, left, err))

    def test_coupled_exactly_k(self):
        """May fail, but then with status 5."""
        draw, seen = random.Random(2), set()
        source = source_of(300)
        for seed in range(12):
            blocks, public = encode(source, k=6, m=6, u=8, R=64, N1=2, P=2, D=3, seed=seed)
            left = draw.sample(range(6, 12), 6)
            status, result, _ = self.run_restore(
                self.store(manifest_of(public, private_of(source)), {b: blocks[b] for b in left}))
            self.assertIn((status, result), ((0, source), (5, None)))
            seen.add(status)
        self.assertIn(5, seen)

    def test_too_few(self):
        for shape in SHIFT[:2] + COUPLED[:2] + RFC5170[:2]:
            source = source_of(4097)
            blocks, public = encode(source, u=8, R=1024, **shape)
            chosen = {b: blocks[b] for b in range(2, shape["k"] + 1)}  # one too few
            status, result, err = self.run_restore(self.store(manifest_of(public, private_of(source)), chosen))
            self.assertEqual((status, result), (5, None), err)
            self.assertIn("not enough blocks", err)

    def test_flipped_bits(self):
        source, blocks, public, private = self.small()
        manifest, draw = manifest_of(public, private), random.Random(3)
        for _ in range(20):
            bad = dict(blocks)
            for b in draw.sample(range(5), 3):
                block = bytearray(bad[b])
                block[draw.randrange(len(block))] ^= 1 << draw.randrange(8)
                bad[b] = bytes(block)
                if sum(bad[i] != blocks[i] for i in bad) <= 2:
                    status, result, err = self.run_restore(self.store(manifest, bad))
                    self.assertEqual((status, result), (0, source), err)
                    self.assertIn("block %d: " % b, err)
            self.assertEqual(self.run_restore(self.store(manifest, bad))[:2], (5, None))

    def test_wrong_length(self):
        source, blocks, public, private = self.small()
        blocks[1] += b"\0"
        blocks[4] = blocks[4][:-1]
        status, result, err = self.run_restore(self.store(manifest_of(public, private), blocks))
        self.assertEqual((status, result), (0, source))
        self.assertIn("wrong length", err)
        self.assertIn("data block 1: recomputed", err)

    def test_contradiction(self):
        """Good seals and hashes around a wrong source hash, or wrong parity."""
        source, blocks, public, private = self.small()
        wrong = manifest_of(public, {**private, 3: bytes(32)})
        self.assertEqual(self.run_restore(self.store(wrong, blocks))[:2], (1, None))
        del blocks[0]
        blocks[3] = bytes(len(blocks[3]))
        hashes = [public[13][:32]] + [blake3(blocks[b]) for b in range(1, 5)]
        wrong = manifest_of({**public, 13: b"".join(hashes)}, private)
        self.assertEqual(self.run_restore(self.store(wrong, blocks))[:2], (1, None))


class Manifests(Base):
    def refused(self, manifest, blocks, text=""):
        status, result, err = self.run_restore(self.store(manifest, blocks, 1))
        self.assertEqual((status, result), (1, None), err)
        self.assertIn(text, err)

    def test_damage(self):
        source, blocks, public, private = self.small()
        good = manifest_of(public, private)
        self.refused(None, blocks, "no such backup")
        for length in [0, 5, 6, 15, 16, 17, 40, len(good) - 33, len(good) - 32, len(good) - 1]:
            self.refused(good[:length], blocks, "manifest")
        self.refused(good + b"\0", blocks, "wrong length")
        draw = random.Random(4)
        for at in [0, 6, 7, 8, 9, 11, 12, 15, 16, len(good) - 1] + [draw.randrange(len(good)) for _ in range(20)]:
            bad = bytearray(good)
            bad[at] ^= 1 << draw.randrange(8)
            self.refused(bytes(bad), blocks, "manifest")
        paths = self.store(good, blocks)
        with open(os.path.join(paths[0], ID.hex(), "manifest"), "r+b") as file:
            file.truncate(50)
        self.assertEqual(self.run_restore(paths)[:2], (0, source))  # the other copy is good

    def test_rules(self):
        source, blocks, public, private = self.small()
        a, b = cbor_encode(public), cbor_encode(private)
        body = cbor_encode([a, b, []])
        self.refused(seal(body, version=2), blocks, "version 2")
        self.refused(seal(body, mode=2), blocks, "mode 2")
        self.refused(seal(body, mode=1), blocks, "wrong length")
        coupled = encode(source, k=3, m=2, u=8, R=16, N1=4, P=2, D=7, seed=5)[1]
        rfc5170 = encode(source, k=3, m=2, u=8, R=48, N1=5, G=3, seed=5)[1]
        changes = [(public, change) for change in (
            {0: ID[1:]}, {1: 0}, {1: 2}, {1: 3}, {2: 0}, {2: 2}, {3: 0}, {3: 4094}, {4: None}, {4: 2}, {4: 4}, {4: 9},
            {5: 2}, {8: 0}, {9: 0}, {9: 3}, {9: 128}, {10: 0}, {10: 8}, {10: 24}, {10: 1 << 32}, {11: 1}, {11: None},
            {12: (1 << 50) + 1}, {12: b"1"}, {13: bytes(32 * 4)}, {14: 0}, {16: 16}, {2: "3"})]
        changes += [(coupled, change) for change in (
            {4: 0}, {5: 0}, {5: 3}, {5: 10}, {6: 0}, {6: 1 << 22}, {7: 16385}, {7: 2}, {8: None}, {1: 1})]
        changes += [(rfc5170, change) for change in (
            {1: 1}, {1: 2}, {4: 0}, {5: 2}, {5: 11}, {6: 0}, {6: 1}, {6: 32}, {7: 2}, {8: 0}, {8: 2**31 - 1}, {10: 32},
            {5: 7}, {5: None}, {6: None}, {8: None})]
        for part, change in changes:
            part = {key: value for key, value in {**part, **change}.items() if value is not None}
            self.refused(manifest_of(part, private), blocks, "manifest: ")
        for change in ({0: "a/b"}, {0: ".."}, {0: "a\0"}, {0: "ü" * 513}, {0: b"a"}, {0: None}, {1: None}, {1: "1"},
                       {2: "1"}, {3: None}, {3: bytes(31)}, {4: 0}, {6: 0}, {6: 2}, *self.wrong_places()):
            part = {key: value for key, value in {**private, **change}.items() if value is not None}
            self.refused(manifest_of(public, part), blocks, "manifest: ")
        for other in (ID[::-1],):
            self.refused(manifest_of({**public, 0: other}, private), blocks, "another backup")
        self.refused(seal(body + bytes(70000)), blocks, "manifest: ")

    def test_rules_of_rows(self):
        source = source_of(7000)
        blocks, public = encode(source, k=3, m=2, u=64, R=48, q=0, c=16)
        for change in ({16: 0}, {16: 8}, {16: 32}, {16: 96}, {16: None}, {11: 0}, {11: 2}, {9: 32}):
            part = {key: value for key, value in {**public, **change}.items() if value is not None}
            self.refused(manifest_of(part, private_of(source)), dict(enumerate(blocks)), "manifest: ")

    @staticmethod
    def places(*stores):
        return b"".join(store.to_bytes(2, "little") for store in stores)

    def wrong_places(self):
        """Places of five blocks that no writer makes."""
        good, two = self.places(0, 1, 0, 1, 0), [{"host": "a"}, {}]
        yield from ({4: good}, {5: two}, {4: good[1:], 5: two}, {4: good[2:], 5: two}, {4: good, 5: two[:1]},
                    {4: self.places(1, 0, 1, 0, 1), 5: two}, {4: self.places(0, 2, 1, 0, 1), 5: [{}, {}, {}]},
                    {4: bytes(10), 5: two}, {4: bytes(10), 5: two[:1]}, {4: good, 5: {}}, {4: good, 5: [1, {}]})
        for labels in ({"store": "a"}, {"": "a"}, {"host": ""}, {"h" * 65: "a"}, {"host": "ü" * 33}, {"host": "a\n"},
                       {"host": "\x85"}, {"host": 1}, {1: "a"}, {"host": b"a"}, {"%d" % i: "a" for i in range(17)}):
            yield {4: good, 5: [labels, {}]}
        yield {4: good, 5: [{"%060d" % i: "a" * 64 for i in range(16)}, {}]}

    def test_places(self):
        source, blocks, public, private = self.small()
        labels = [{"host": "a", "disk": "ä"}, {}, {"b": "1", "aa": "2"}]
        placed = manifest_of(public, {**private, 4: self.places(0, 1, 0, 2, 1), 5: labels})
        self.assertEqual(self.run_restore(self.store(placed, blocks))[:2], (0, source))
        wrong = cbor_encode({**private, 4: self.places(0, 1, 0, 2, 1), 5: labels})
        wrong = wrong.replace(b"\x62aa\x612\x61b\x611", b"\x61b\x611\x62aa\x612")
        self.refused(seal(cbor_encode([cbor_encode(public), wrong, []])), blocks, "manifest: ")

    def test_cbor(self):
        source, blocks, public, private = self.small()
        a, b = cbor_encode(public), cbor_encode(private)
        bodies = [b"", b"\x83", b"\x9f", b"\xff", b"\x80", b"\x01", b"\xa0", b"\x84\x40\x40\x80\x80", b"\x81" * 500,
                  b"\x83\x40\x40\x80", b"\x83\xa0\x40\x80", b"\x9b" + b"\xff" * 8, b"\x5b" + b"\xff" * 8,
                  b"\xbf\xff", b"\xc0\x01", b"\xf6", b"\x20", b"\x1c", b"\x62\xff\xff",
                  cbor_encode([a, b, []]) + b"\0", cbor_encode([a, b, [b""]]), cbor_encode([a, b]),
                  cbor_encode([a + b"\0", b, []]), cbor_encode([a[:-1], b, []]),
                  cbor_encode([a, b.replace(b"\x01\x1a", b"\x01\x1b\0\0\0\0"), []]),  # not the shortest
                  cbor_encode([b"\xad" + a[1:] + a[1:19] * 0 + b"\x0b\x00", b, []]),  # a key twice
                  cbor_encode([a, b"\xa3" + b[1 + 7:1 + 7 + 6] + b[1:8] + b[14:], []]),  # keys not ascending
                  cbor_encode([a, b.replace("ä".encode(), b"\xc3\xc3"), []]),
                  b"\x9f" + cbor_encode([a, b, []])[1:] + b"\xff"]
        for body in bodies:
            self.refused(seal(body), blocks, "manifest: ")
        self.assertEqual(self.run_restore(self.store(seal(cbor_encode([a, b, []])), blocks))[:2], (0, source))
        with_time = manifest_of(public, {**private, 2: 1600000000})
        self.assertEqual(self.run_restore(self.store(with_time, blocks))[:2], (0, source))


try:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    Ed25519PrivateKey = None


def bech32_encode(prefix, data):
    digits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = "".join(format(byte, "08b") for byte in data)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[i:i + 5], 2) for i in range(0, len(bits), 5)]
    check = 1
    for value in [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + values + [0] * 6:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator * (top >> i & 1)
    values += [(check ^ 1) >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(digits[value] for value in values)


@unittest.skipUnless(Ed25519PrivateKey, "no module `cryptography`")
class Signed(Base):
    def setUp(self):
        super().setUp()
        self.key, self.file_key, self.salt = Ed25519PrivateKey.generate(), bytes(range(32)), bytes(16)
        self.device = self.key.public_key().public_bytes_raw()
        id = bytearray(reference.derive_key(b"tanner backup id 1", self.device + self.salt)[:16])
        id[0] |= 0x80
        self.id = bytes(id)
        self.source = source_of(700)
        stream = reference.aes_ctr(reference.hkdf(self.file_key, self.id, b"tanner data 1"), 0, bytes(700))
        encrypted = bytes(a ^ b for a, b in zip(self.source, stream))
        blocks, self.public = encode(encrypted, k=3, m=2, u=8, R=16, q=0)
        self.blocks, self.private = dict(enumerate(blocks)), private_of(self.source)
        text = bech32_encode("tanner-read", b"\1" + self.id + self.file_key + self.device)
        self.read_key = os.path.join(self.folder.name, "read.key")
        with open(self.read_key, "w") as file:
            file.write("# of one backup\n%s\n" % text)

    def manifest(self, generation=1, key=None, nonce=bytes(12), keys=(b"a",), **change):
        public = cbor_encode({**self.public, 0: self.id, 14: self.salt, 15: generation,
                              **{int(name[1:]): value for name, value in change.items()}})
        private = cbor_encode(self.private)
        length = len(cbor_encode([public, bytes(len(private) + 28), list(keys)]))
        head = b"tanner" + bytes([1, 0, 1, 0, 0, 0]) + length.to_bytes(4, "little")
        sealer = AESGCM(reference.hkdf(self.file_key, self.id, b"tanner private 1"))
        private = nonce + sealer.encrypt(nonce, private, head + public)
        signed = head + cbor_encode([public, private, list(keys)]) + (key or self.key).public_key().public_bytes_raw()
        return signed + (key or self.key).sign(b"tanner signed manifest 1" + signed)

    def restored(self, *manifests, more=None):
        paths = []
        for manifest in manifests:
            paths += self.store(manifest, self.blocks, 1, self.id.hex())
        return self.run_restore(paths, self.id.hex(), ["--read-key", self.read_key] if more is None else more)

    def test_restores(self):
        self.assertEqual(self.restored(self.manifest())[:2], (0, self.source))
        del self.blocks[0], self.blocks[2]
        self.assertEqual(self.restored(self.manifest(2), self.manifest())[:2], (0, self.source))
        self.assertEqual(self.restored(self.manifest(), more=[])[:2], (1, None))

    def test_epochs(self):
        names = [b"", b" epoch " + bytes(8), b" epoch " + bytes(range(8))]
        streams = [reference.aes_ctr(reference.hkdf(self.file_key, self.id, b"tanner data 1" + name), 0, bytes(700))
                   for name in names]
        steps = [i % 240 // 8 for i in range(700)]
        encrypted = bytes(byte ^ streams[(step >= 7) + (step >= 17)][i]
                          for i, (byte, step) in enumerate(zip(self.source, steps)))
        blocks, self.public = encode(encrypted, k=3, m=2, u=8, R=16, q=0)
        self.blocks = dict(enumerate(blocks))
        epochs = [struct.pack("<Q", s) + name[-8:] for s, name in zip((7, 17), names[1:])]
        self.private[6] = b"".join(epochs)
        self.assertEqual(self.restored(self.manifest())[:2], (0, self.source))
        del self.blocks[0], self.blocks[2]
        self.assertEqual(self.restored(self.manifest())[:2], (0, self.source))
        for wrong in (b"", epochs[0][:15], epochs[1] + epochs[0], epochs[0] * 2, struct.pack("<QQ", 30, 0)):
            self.private[6] = wrong
            status, result, err = self.restored(self.manifest())
            self.assertEqual((status, result), (1, None))
            self.assertIn("epochs", err)

    def test_refuses(self):
        other = Ed25519PrivateKey.generate()
        flipped = bytearray(self.manifest())
        flipped[60] ^= 1
        plain = manifest_of({**self.public, 0: self.id}, private_of(self.source))
        for manifest, words in ((self.manifest(key=other), "certify"), (bytes(flipped), "signature"), (plain, "plain"),
                                (self.manifest(_14=bytes(15)), "salt"), (self.manifest(0), "generation"),
                                (self.manifest(keys=()), "keys"), (self.manifest(keys=(b"a",) * 3), "keys"),
                                (self.manifest(keys=(bytes(1537),)), "keys"), (self.manifest()[:-1], "length")):
            status, result, err = self.restored(manifest)
            self.assertEqual((status, result), (1, None), words)
            self.assertIn(words, err)
        status, result, err = self.restored(self.manifest(), self.manifest(nonce=bytes([1]) * 12))
        self.assertEqual((status, result), (1, None))
        self.assertIn("generation 1 differ", err)
        self.assertEqual(self.restored(plain, self.manifest())[:2], (0, self.source))  # one store lies


class Command(Base):
    def test_ids(self):
        source, blocks, public, private = self.small()
        paths = self.store(manifest_of(public, private), blocks, 3)
        for wanted, status in (("-", 0), ("2", 0), ("2021", 0), (ID.hex(), 0), ("b", 1), (ID.hex() + "0", 1)):
            self.assertEqual(self.run_restore(paths, wanted)[0], status)
        other = bytes([0x21]) + ID[1:]
        paths += self.store(manifest_of({**public, 0: other}, private), blocks, 1, other.hex())
        for wanted, status in (("-", 1), ("2", 1), ("20", 0), ("21", 0)):
            self.assertEqual(self.run_restore(paths, wanted)[0], status)
        self.assertEqual(self.run_restore(paths + ["/nonexistent"], "20", ["--pure"])[:2], (0, source))

    def test_plain_under_a_signed_id(self):
        source, blocks, public, private = self.small()
        old = bytes([0xA0]) + ID[1:]
        paths = self.store(manifest_of({**public, 0: old}, private), blocks, 2, old.hex())
        self.assertEqual(self.run_restore(paths)[:2], (1, None))
        self.assertEqual(self.run_restore(paths, more=["--no-encrypt"])[:2], (0, source))

    def test_usage(self):
        paths = self.store(None, {}, 1)
        for arguments in ([], ["-"], ["-", "d"], ["-", *paths, "-o", "/nonexistent/x"], ["-", "-o", "x"], ["--what"],
                          ["-", "a\0b", "-o", "x"]):
            with contextlib.redirect_stderr(io.StringIO()):
                self.assertEqual(reference.main(arguments), 1)

    def test_parts(self):
        reference.self_check()
        random0 = reference.Splitmix64(0)
        self.assertEqual([random0.draw() for _ in range(2)], [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4])
        park_miller = reference.ParkMiller(1)
        self.assertEqual([park_miller.rnd(1) or park_miller.state for _ in range(3)], [16807, 282475249, 1622650073])
        rows, places = reference.rfc5170_table(20, 20, 5, 21)
        text = "".join(" ".join(map(str, sorted(row))) + "\n" for row in rows).encode()
        self.assertEqual(hashlib.sha256(text).hexdigest(),
                         "08284b0e38b4250df41e2052c9a00fbf6ecf48e2f8aa52f29a793ce5a44fa2a7")
        self.assertEqual(sorted(range(20), key=lambda i: places[i])[:10], [6, 16, 9, 17, 1, 14, 10, 19, 15, 4])
        self.assertEqual([q for q in range(100) if reference.is_prime(q)],
                         [q for q in range(2, 100) if all(q % d for d in range(2, q))])
        self.assertFalse(reference.is_prime(3215031751))
        self.assertTrue(reference.is_prime(2**61 - 1))


if __name__ == "__main__":
    unittest.main()

"""Encodes and decodes with the package zfec as src/peers/zfec.rs says, line by line. (A script called zfec.py would hide the package.)

Arguments: K N BLOCK_BYTES. Then K blocks of source on standard input, then commands:
`encode PIECE`, `decode PIECE LOST` (the first LOST data blocks), `fetch` (the restored blocks, raw).
Each is answered by `done`.
"""

import sys

import zfec


def pieces(block, size):
    view = memoryview(block)
    return [view[at : at + size] for at in range(0, len(block), size)]


def encode(k, n, source, size):
    """The parity blocks, as a list for each piece."""
    encoder = zfec.Encoder(k, n)
    wanted = tuple(range(k, n))
    return [encoder.encode(column, wanted) for column in zip(*(pieces(block, size) for block in source))]


def decode(k, n, source, parity, size, lost):
    """The first `lost` data blocks, as a list for each piece. Live data blocks stay in their places."""
    decoder = zfec.Decoder(k, n)
    numbers = tuple(range(k, k + lost)) + tuple(range(lost, k))
    live = zip(*(pieces(block, size) for block in source[lost:])) if lost < k else ((),) * len(parity)
    columns = (tuple(repair[:lost]) + tuple(column) for repair, column in zip(parity, live))
    return [decoder.decode(column, numbers)[:lost] for column in columns]


def main():
    if sys.argv[1] == "version":
        print(zfec.__version__)
        return
    k, n, block_bytes = map(int, sys.argv[1:])
    commands, answers = sys.stdin.buffer, sys.stdout.buffer
    source = [commands.read(block_bytes) for _ in range(k)]
    parity, restored = [], []
    answers.write(b"done\n")
    answers.flush()
    for line in commands:
        command, *numbers = line.split()
        if command == b"encode":
            parity = []
            parity = encode(k, n, source, int(numbers[0]))
        elif command == b"decode":
            restored = []
            restored = decode(k, n, source, parity, int(numbers[0]), int(numbers[1]))
        answers.write(b"done\n")
        if command == b"fetch":
            for block in zip(*restored):
                answers.writelines(block)
        answers.flush()


main()

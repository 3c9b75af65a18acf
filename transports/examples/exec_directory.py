#!/usr/bin/env python3
"""A store in a directory, as a program that tanner runs: exec:/usr/bin/python3?arg=THIS_FILE&arg=DIRECTORY

Objects are written to files without a name (O_TMPFILE), so a put that is killed leaves nothing, and linked to
their name at once, which fails if it is taken: so no object is ever half there or overwritten.
"""
import os
import sys

ROOT, PIECE = sys.argv[1], 1 << 20
IN, OUT = sys.stdin.buffer, sys.stdout.buffer


def say(line, data=b""):
    OUT.write(line.encode() + b"\n" + data)


def words():
    OUT.flush()
    return IN.readline().decode().split()


def sync(directory):
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def put(path, length):
    os.makedirs(ROOT, exist_ok=True)
    with os.fdopen(os.open(ROOT, os.O_TMPFILE | os.O_RDWR, 0o666), "wb") as file:
        if length != "-" and int(length) > 0:
            os.posix_fallocate(file.fileno(), 0, min(int(length), 2**63 - 1))
        say("OK")
        while (request := words())[:1] == ["DATA"]:
            file.write(IN.read(int(request[1])))
            say("OK")
        if request == ["COMMIT"]:
            file.flush()
            os.fsync(file.fileno())
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Only with a descriptor does Python ask for links to be followed.
            os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=file.fileno())
            sync(os.path.dirname(path))
            sync(ROOT)
        say("OK")


def get(path, start, end):
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if end > length:
            return say(f"OUT-OF-RANGE {length}")
        file.seek(start)
        while start < end and (data := file.read(min(PIECE, end - start))):
            say(f"DATA {len(data)}", data)
            start += len(data)
    say("END")


def listing(prefix):
    for directory, _, files in os.walk(os.path.join(ROOT, "" if prefix == "-" else prefix)):
        for file in files:
            say("NAME " + os.path.relpath(os.path.join(directory, file), ROOT))
    say("END")


def answer(verb, name, *rest):
    path = os.path.join(ROOT, name)
    if verb == "PUT":
        put(path, *rest)
    elif verb == "GET":
        get(path, *map(int, rest))
    elif verb == "STAT":
        if not os.path.isfile(path):
            return say("MISSING")
        say(f"LENGTH {os.path.getsize(path)}")
    elif verb == "LIST":
        listing(name)
    elif verb == "DELETE":
        if os.path.exists(path):
            os.unlink(path)
            sync(os.path.dirname(path))
        say("OK")


if words() != ["TANNER-EXEC", "1"]:
    sys.exit("this program speaks version 1")
say("TANNER-EXEC 1 durable exclusive-create ranges list")
while request := words():
    try:
        answer(*request)
    except FileNotFoundError:
        say("MISSING")
    except FileExistsError:
        say("EXISTS")
    except PermissionError as error:
        say(f"REFUSED {error.strerror}")
    except OSError as error:
        say(f"FULL {error.strerror}" if error.errno in (27, 28, 122) else f"FAILED {error.strerror}")

#!/usr/bin/env python3
"""A store in a directory, as a program that tanner runs: exec:/usr/bin/python3?arg=THIS_FILE&arg=DIRECTORY

Objects are written to files without a name (O_TMPFILE), so a put that is killed leaves nothing, and linked to
their name at once, which fails if it is taken: so no object is ever half there or overwritten.
"""
import os
import sys
from pathlib import Path

ROOT, IN, OUT = Path(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer

def say(line, data=b""):
    OUT.write(line.encode() + b"\n" + data)

def words():
    OUT.flush()
    return IN.readline().decode().split()

def sync(directory):
    os.fsync(fd := os.open(directory, os.O_RDONLY))
    os.close(fd)

def put(path, length):
    ROOT.mkdir(parents=True, exist_ok=True)
    with open(os.open(ROOT, os.O_TMPFILE | os.O_RDWR, 0o666), "wb") as file:
        if length not in ("-", "0"):
            os.posix_fallocate(file.fileno(), 0, min(int(length), 2**63 - 1))
        say("OK")
        while (request := words())[:1] == ["DATA"]:
            file.write(IN.read(int(request[1])))
            say("OK")
        if request == ["COMMIT"]:
            file.flush()
            os.fsync(file.fileno())
            path.parent.mkdir(exist_ok=True)
            # Only with a descriptor does Python ask for links to be followed.
            os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=file.fileno())
            sync(path.parent), sync(ROOT)
        say("OK")

def get(path, start, end):
    with open(path, "rb") as file:
        if end > (length := os.fstat(file.fileno()).st_size):
            return say(f"OUT-OF-RANGE {length}")
        file.seek(start)
        while data := file.read(min(1 << 20, end - file.tell())):
            say(f"DATA {len(data)}", data)
    say("END")

def answer(verb, name, *rest):
    path = ROOT / name
    if verb == "PUT":
        put(path, *rest)
    elif verb == "GET":
        get(path, *map(int, rest))
    elif verb == "STAT":
        say(f"LENGTH {path.stat().st_size}" if path.is_file() else "MISSING")
    elif verb == "LIST":
        for file in (ROOT if name == "-" else path).rglob("*"):
            if file.is_file():
                say(f"NAME {file.relative_to(ROOT)}")
        say("END")
    elif verb == "DELETE":
        if path.exists():
            path.unlink()
            sync(path.parent)
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
    except OSError as error:
        word = {1: "REFUSED", 13: "REFUSED", 27: "FULL", 28: "FULL", 122: "FULL"}.get(error.errno, "FAILED")
        say(f"{word} {error.strerror}")

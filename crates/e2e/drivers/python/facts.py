"""What the Python programs share: where to connect, what to run, and how a fact is printed."""

import hashlib
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """Where to connect and how, as the test says in the environment."""

    host: str
    port: int
    user: str
    password: str
    database: str
    tls: str  # default | off | required | verify
    ca: str
    server: str  # mysql | mariadb
    variant: str
    action: str  # logins | facts


def target():
    env = os.environ
    return Target(
        host=env["DRIVER_HOST"],
        port=int(env["DRIVER_PORT"]),
        user=env["DRIVER_USER"],
        password=env["DRIVER_PASSWORD"],
        database=env["DRIVER_DATABASE"],
        tls=env.get("DRIVER_TLS", "default"),
        ca=env.get("DRIVER_CA", ""),
        server=env["DRIVER_SERVER"],
        variant=env.get("DRIVER_VARIANT", "default"),
        action=env["DRIVER_ACTION"],
    )


def logins(where):
    """The logins to try, each with its name: lines of name, user, password and TLS, separated by tabs."""
    for line in os.environ["DRIVER_LOGINS"].splitlines():
        name, user, password, tls = line.split("\t")
        yield name, replace(where, user=user, password=password, tls=tls)


def statements(where):
    """The statements of statements.tsv that are meant for this server: (kind, how, name, SQL)."""
    for line in Path(os.environ["DRIVER_STATEMENTS"]).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        kind, how, server, name, sql = line.split("\t")
        if server in ("any", where.server):
            yield kind, how, name, sql.replace("{database}", where.database)


def shown(value):
    """A value as one line; what is long is told by its length and hash."""
    if isinstance(value, (bytes, bytearray, str)) and len(value) > 400:
        raw = value.encode() if isinstance(value, str) else bytes(value)
        return f"{type(value).__name__} of {len(value)} sha256 {hashlib.sha256(raw).hexdigest()}"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__} {sorted(value)!r}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(shown(v) for v in value) + ")"
    return f"{type(value).__name__} {value!r}"


def fact(name, *values):
    text = " | ".join(v if isinstance(v, str) else shown(v) for v in values)
    sys.stdout.write(f"{name} = {text}".replace("\r", "\\r").replace("\n", "\\n") + "\n")
    sys.stdout.flush()


def big_value():
    """17 MiB that no compressor and no escape leaves alone: every byte value, in a pattern that does not repeat early."""
    block = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(2048))
    return (block + bytes(range(256))) * (17 * 1024 * 1024 // (len(block) + 256) + 1)

"""PostgreSQL's simple protocol, without a driver: text in, text out."""

import socket
import struct


# Answers of more rows are of no use to a comparison.
ROWS_MAX = 200_000


class ServerError(Exception):
    """An ErrorResponse."""

    def __init__(self, fields):
        self.code = fields.get("C", "")
        self.message = fields.get("M", "")
        self.fatal = fields.get("S") == "FATAL"
        super().__init__(f"{self.code} {self.message}")


class Result:
    """The last result of a query string: column names, type OIDs, rows, command tag."""

    def __init__(self):
        self.names, self.types, self.rows, self.tag = [], [], [], ""


class Client:
    """One connection without a password. The address is a port of this machine or
    `user:database@port`."""

    def __init__(self, address, timeout=60):
        who, _, port = str(address).rpartition("@")
        user, _, database = (who or "postgres:postgres").partition(":")
        self.socket = socket.create_connection(("127.0.0.1", int(port)), timeout=timeout)
        self.buffer = b""
        words = ["user", user, "database", database, "client_encoding", "UTF8"]
        body = struct.pack("!i", 196608) + b"".join(w.encode() + b"\0" for w in words) + b"\0"
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        self.answer()

    def take(self, count):
        while len(self.buffer) < count:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server closed the connection")
            self.buffer += data
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def answer(self):
        result, error = Result(), None
        while True:
            kind, length = struct.unpack("!ci", self.take(5))
            body = self.take(length - 4)
            if kind == b"T":
                result = Result()
                (count,), at = struct.unpack_from("!h", body), 2
                for _ in range(count):
                    end = body.index(b"\0", at)
                    result.names.append(body[at:end].decode())
                    result.types.append(struct.unpack_from("!ihihih", body, end + 1)[2])
                    at = end + 19
            elif kind == b"D":
                (count,), at, row = struct.unpack_from("!h", body), 2, []
                for _ in range(count):
                    (size,) = struct.unpack_from("!i", body, at)
                    at += 4
                    row.append(None if size < 0 else body[at : at + size].decode())
                    at += max(size, 0)
                result.rows.append(row)
                if len(result.rows) > ROWS_MAX:
                    self.close()
                    raise ConnectionError("too many rows")
            elif kind == b"C":
                result.tag = body[:-1].decode()
            elif kind == b"E":
                parts = [p.decode() for p in body.split(b"\0") if p]
                error = ServerError({p[0]: p[1:] for p in parts})
            elif kind == b"G":
                message = b"no data\0"
                self.socket.sendall(b"f" + struct.pack("!i", len(message) + 4) + message)
            elif kind == b"Z":
                if error:
                    raise error
                return result
            if error and error.fatal:
                raise error

    def query(self, sql):
        body = sql.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
        return self.answer()

    def close(self):
        self.socket.close()

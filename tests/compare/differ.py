#!/usr/bin/env python3
"""Runs files of statements on a PostgreSQL and on Chronos and prints where the answers differ.

    differ.py [--types] POSTGRES CHRONOS FILE...

A statement ends at a line that ends with a semicolon. Column names, types (by OID), rows and
SQLSTATEs have to be the same. A server is a port of this machine, or user:database@port.
"""

import sys

from wire import Client, ServerError


def statements(text):
    lines = []
    for line in text.splitlines():
        if not lines and (not line.strip() or line.startswith("--")):
            continue
        lines.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(lines)
            lines = []


def columns(sql):
    """The select list of a SELECT without FROM, each as a statement of its own."""
    if not sql.lower().startswith("select "):
        return []
    body = sql.rstrip().rstrip(";")[7:]
    parts, depth, quoted, start = [], 0, False, 0
    for at, c in enumerate(body):
        if c == "'":
            quoted = not quoted
        elif not quoted and c in "([":
            depth += 1
        elif not quoted and c in ")]":
            depth -= 1
        elif not quoted and depth == 0:
            if body[at : at + 6].lower() == " from ":
                return []
            if c == ",":
                parts.append(body[start:at])
                start = at + 1
    parts.append(body[start:])
    return [f"select {part.strip()};" for part in parts] if len(parts) > 1 else []


def run(client, sql):
    try:
        result = client.query(sql)
        return ("ok", result.names, result.types, result.rows, result.tag)
    except ServerError as error:
        return ("error", error.code, error.message)


def shown(answer):
    if answer[0] == "error":
        return f"ERROR {answer[1]} {answer[2]}"
    _, names, types, rows, tag = answer
    if not names:
        return tag
    head = ",".join(f"{n}:{t}" for n, t in zip(names, types))
    return f"[{head}] " + " / ".join("|".join("NULL" if c is None else c for c in r) for r in rows[:12])


def same(left, right):
    if left[0] == "error" or right[0] == "error":
        return left[:2] == right[:2]
    return left[1:4] == right[1:4]


def main():
    args = sys.argv[1:]
    ports, files = args[:2], args[2:]
    total = differing = 0
    for name in files:
        clients = [Client(port) for port in ports]
        with open(name, encoding="utf-8") as file:
            text = file.read()
        queue = list(statements(text))[::-1]
        while queue:
            sql = queue.pop()
            total += 1
            answers = []
            for at, client in enumerate(clients):
                try:
                    answers.append(run(client, sql))
                except (ConnectionError, TimeoutError, OSError) as error:
                    answers.append(("error", "XXXXX", f"connection: {error}"))
                    clients[at] = Client(ports[at])
            parts = columns(sql)
            if not same(*answers) and parts:
                total -= 1
                queue.extend(parts[::-1])
            elif not same(*answers):
                differing += 1
                print(f"{sql}\n   postgres: {shown(answers[0])}\n   chronos:  {shown(answers[1])}")
        for client in clients:
            client.close()
    print(f"{total - differing} of {total} statements answered alike")


if __name__ == "__main__":
    main()

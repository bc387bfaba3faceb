#!/usr/bin/env python3
"""Runs DataFusion's sqllogictest files on a PostgreSQL and on Chronos, side by side.

    sqllogictest.py POSTGRES CHRONOS DIRECTORY [--only PART] [--failures FILE]

A record counts if it is plain SQL: if PostgreSQL runs it and answers what the file expects (or
refuses it, where the file expects an error). What PostgreSQL cannot run is DataFusion's own, and
where PostgreSQL answers otherwise, PostgreSQL is right; both are told apart and not counted. A
record whose tables come from statements that do not count does not count either. A server is a
port of this machine, or user:database@port.
"""

import os
import re
import sys
from collections import Counter
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from wire import Client, ServerError

INTEGERS, FLOATS = {20, 21, 23}, {700, 701}
TEXTS = {25, 1042, 1043, 705}


class Record:
    def __init__(self, path, line, kind, head):
        self.path, self.line, self.kind, self.head = path, line, kind, head
        self.sql, self.expected, self.has_answer = "", [], False


def records(path, root):
    """The records of a file for the label `postgres`."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    at = 0
    skip = False
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if not line or line.startswith("#"):
            continue
        words = line.split()
        if words[0] == "skipif":
            skip = skip or words[1].lower() in ("postgres", "postgresql")
        elif words[0] == "onlyif":
            skip = skip or words[1].lower() not in ("postgres", "postgresql")
        elif words[0] == "include":
            yield from records(os.path.join(os.path.dirname(path), words[1]), root)
        elif words[0] in ("statement", "query"):
            record = Record(os.path.relpath(path, root), at, words[0], words[1:])
            body = []
            while at < len(lines) and lines[at].strip() and lines[at].strip() != "----":
                body.append(lines[at])
                at += 1
            record.sql = "\n".join(body)
            if at < len(lines) and lines[at].strip() == "----":
                record.has_answer = True
                at += 1
                multiline = words[1:2] == ["error"]
                while at < len(lines) and (lines[at].strip() or multiline):
                    if multiline and not lines[at].strip() and not lines[at + 1 : at + 2] == [""]:
                        break
                    record.expected.append(lines[at])
                    at += 1
            if not skip:
                yield record
            skip = False
        elif words[0] == "halt":
            return
        else:
            skip = False


def number(text, digits=12):
    if text in ("NaN", "Infinity", "-Infinity"):
        return text
    with localcontext() as context:
        context.prec = 400
        value = Decimal(text)
        if -value.as_tuple().exponent > digits:
            value = value.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN)
        text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def cell(value, oid):
    if value is None:
        return "NULL"
    if oid in FLOATS or oid == 1700:
        return number(value)
    if oid == 16:
        return {"t": "true", "f": "false"}.get(value, value)
    if oid == 1114:
        return value.replace(" ", "T", 1)
    if oid == 1184:
        value = re.sub(r"\+00$", "Z", value.replace(" ", "T", 1))
        return value
    if oid in TEXTS:
        return "(empty)" if value == "" else value.rstrip("\n")
    return value


def lines_of(result, record):
    rows = [" ".join(cell(v, t) for v, t in zip(row, result.types)).rstrip() for row in result.rows]
    if "rowsort" in record.head:
        rows.sort()
    elif "valuesort" in record.head:
        rows = sorted(cell(v, t) for row in result.rows for v, t in zip(row, result.types))
    return "\n".join(rows).split("\n") if rows else []


def canonical(line):
    """A line with its numbers rounded and the forms that drivers print alike."""
    line = re.sub(r"(\d\d\d\d-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d+)?)Z?", r"\1T\2", line.strip())
    line = re.sub(r"(T\d\d:\d\d:\d\d\.\d*?)0+(?=\D|$)", r"\1", line)
    line = re.sub(r"(T\d\d:\d\d:\d\d)\.(?=\D|$)", r"\1", line)
    return line


def alike(rows, record):
    expected = [e.rstrip() for e in record.expected]
    if "rowsort" in record.head or "valuesort" in record.head:
        expected = sorted(expected)
        rows = sorted(rows)
    got, want = [canonical(r) for r in rows], [canonical(e) for e in expected]
    return got == want


def run(client, record):
    try:
        return client.query(record.sql), None
    except ServerError as error:
        return None, error


def fresh(port, name):
    client = Client(port)
    client.query(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    client.query(f"CREATE SCHEMA {name}")
    client.query(f"SET search_path TO {name}")
    client.query("SET TimeZone TO 'UTC'")
    client.query("SET statement_timeout TO '10s'")
    return client


def judge(result, error, record):
    """Whether an answer is the expected one."""
    if record.kind == "statement":
        return (error is not None) == (record.head[:1] == ["error"])
    if record.head[:1] == ["error"]:
        return error is not None
    return error is None and alike(lines_of(result, record), record)


def same_answers(a, b, record):
    if a is None or b is None:
        return a is b
    left, right = lines_of(a, record), lines_of(b, record)
    return left == right or ("ORDER BY" not in record.sql.upper() and sorted(left) == sorted(right))


def run_file(path, root, ports, out):
    counts, why = Counter(), Counter()
    label = re.sub(r"\W", "", os.path.relpath(path, root).removesuffix(".slt")).lower()
    name = "slt_" + label
    clients = [fresh(port, name) for port in ports]
    for record in records(path, root):
        # Plans are each engine's own, and settings of another engine's name mean nothing here.
        if re.match(r"\s*(explain|set\s+datafusion|describe|show)\b", record.sql, re.I):
            counts["foreign"] += 1
            continue
        answers = []
        for at, client in enumerate(clients):
            try:
                answers.append(run(client, record))
            except (ConnectionError, TimeoutError, OSError) as broken:
                answers.append((None, ServerError({"C": "XXXXX", "M": f"connection: {broken}"})))
                try:
                    clients[at] = Client(ports[at])
                    clients[at].query(f"SET search_path TO {name}")
                    clients[at].query("SET statement_timeout TO '10s'")
                except OSError:
                    print(f"no server at {ports[at]}")
                    sys.exit(1)
        (pg, pg_error), (us, us_error) = answers
        plain = judge(pg, pg_error, record)
        right = judge(us, us_error, record) or (
            pg is not None and us is not None and same_answers(us, pg, record)
        )
        wants_error = record.head[:1] == ["error"]
        # An error for want of the table or function tells nothing.
        foreign = pg_error is not None and pg_error.code in ("42P01", "42883", "42601", "42704")
        where = f"{record.path}:{record.line}"
        if pg is not None and not plain and not wants_error:
            counts["otherwise"] += 1
            if us is None or not same_answers(pg, us, record):
                counts["otherwise_wrong"] += 1
                print(f"--- OTHERWISE {where}\n{record.sql}", file=out)
                report(out, pg, pg_error, us, us_error, record)
        elif not plain or (wants_error and foreign):
            counts["foreign"] += 1
            why[(pg_error.code if pg_error else "runs in PostgreSQL")] += 1
            if us_error and us_error.code == "XXXXX":
                print(f"--- BROKEN {where}\n{record.sql}\n{us_error}", file=out)
            if not wants_error and pg is None and judge(us, us_error, record):
                counts["foreign_right"] += 1
        else:
            counts["plain"] += 1
            if right:
                counts["right"] += 1
            else:
                print(f"--- FAILED {where}\n{record.sql}", file=out)
                report(out, pg, pg_error, us, us_error, record)
        if us_error and us_error.code == "XX000":
            print(f"--- INTERNAL {where}\n{record.sql}\n{us_error}", file=out)
    for client in clients:
        try:
            client.query(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        except (ServerError, OSError):
            pass
        client.close()
    return counts


def report(out, pg, pg_error, us, us_error, record):
    if pg_error:
        print(f"  expected an error: {pg_error}", file=out)
    else:
        print("  postgres: " + " / ".join(lines_of(pg, record)[:8])[:600], file=out)
    if us_error:
        print(f"  chronos:  ERROR {us_error}", file=out)
    else:
        print("  chronos:  " + " / ".join(lines_of(us, record)[:8])[:600], file=out)


def main():
    args = sys.argv[1:]
    only = args[args.index("--only") + 1] if "--only" in args else ""
    failures = args[args.index("--failures") + 1] if "--failures" in args else os.devnull
    ports, root = args[:2], args[2]
    total = Counter()
    paths = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith(".slt")
    )
    with open(failures, "w", encoding="utf-8") as out:
        for path in paths:
            relative = os.path.relpath(path, root)
            # Another dialect, another engine's functions.
            if relative.startswith("spark/") or only not in relative:
                continue
            try:
                counts = run_file(path, root, ports, out)
            except (OSError, ServerError) as error:
                print(f"{relative}: {error}")
                continue
            out.flush()
            total += counts
            print(
                f"{relative}: {counts['right']} of {counts['plain']} plain"
                f" ({counts['otherwise'] - counts['otherwise_wrong']} of {counts['otherwise']} as"
                f" PostgreSQL otherwise, {counts['foreign']} not PostgreSQL's)",
                flush=True,
            )
    share = 100 * total["right"] / max(total["plain"], 1)
    print(
        f"{total['right']} of {total['plain']} plain records ({share:.1f} %); of"
        f" {total['otherwise']} that PostgreSQL answers otherwise than DataFusion"
        f" {total['otherwise'] - total['otherwise_wrong']} are answered as PostgreSQL does;"
        f" {total['foreign']} records are not PostgreSQL's"
    )


if __name__ == "__main__":
    main()

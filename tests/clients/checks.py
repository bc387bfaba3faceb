"""What the checks of the Python drivers share: each runs by itself, and all are told at the end."""

import asyncio
import inspect
import sys
import time

failed = []
# Checks that are known to fail on Chronos, each with what is missing.
gaps = {}
count = 0
only = sys.argv[2:]


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r}, expected {wanted!r}")


def runner(connect):
    """A decorator that runs a check on a connection of its own and notes how it went."""

    def check(function):
        global count
        if only and function.__name__ not in only:
            return
        count += 1
        begun = time.monotonic()
        try:
            if inspect.iscoroutinefunction(function):
                asyncio.run(asyncio.wait_for(connect(function), 120))
            else:
                connect(function)
            print(f"ok      {function.__name__} ({time.monotonic() - begun:.2f} s)")
            if function.__name__ in gaps:
                print(f"        is no gap any more: {function.__name__}")
        except Exception as error:  # Every check is told, not only the first that fails.
            if function.__name__ in gaps:
                print(f"gap     {function.__name__}: {gaps[function.__name__]}")
                return
            failed.append(function.__name__)
            text = " | ".join(str(error).splitlines())
            print(f"FAILED  {function.__name__}: {type(error).__name__}: {text}")

    return check


def end():
    print(f"{len(failed)} of {count} checks failed")
    sys.exit(1 if failed else 0)

"""An application's process that serves a user's program, with the settings of its environment.

A line that it reads is a user's name: it says what that user is served. ``fork`` makes three
children, which all serve ada at the same time as their parent; it says what each of them came to.
"""

import os
import sys
import threading

from bespoke_workers.programs import for_user
from tests.integration.serving import said
from tests.two_predictors import NAME

CHILDREN = 3
THREADS = 4
TIMES = 10


def serve_often() -> str:
    """Return all that was served, each word once, and how often it came from memory or not."""
    words = set()

    def serve() -> None:
        for _ in range(TIMES):
            words.add(said(for_user(NAME, "ada")))

    threads = [threading.Thread(target=serve) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = for_user.stats()
    return f"{','.join(map(str, words))} {stats.hits}+{stats.misses}"


def forked() -> list[str]:
    """Serve in children and in their parent at once; return what each of them said."""
    pipes = []
    for _ in range(CHILDREN):
        out, into = os.pipe()
        if os.fork() == 0:
            os.write(into, serve_often().encode())
            os._exit(0)
        os.close(into)
        pipes.append(out)
    own = serve_often()
    told = [os.read(out, 1000).decode() for out in pipes]
    for _ in pipes:
        os.wait()
    return [own, *told]


def main() -> None:
    for line in sys.stdin:
        asked = line.strip()
        answer = ";".join(forked()) if asked == "fork" else str(said(for_user(NAME, asked)))
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

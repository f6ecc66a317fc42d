"""Another process that serves a user's program: says what it serves, at each line that it reads.

Arguments: database URL, home. A line is a user's name. ``fork`` makes three children, which all
serve ada at the same time as their parent; it then says what each of them came to.
"""

import os
import sys
import threading
from pathlib import Path

from bespoke_workers.programs.serving import ForUser
from tests.integration.serving import Serving, said
from tests.two_predictors import NAME

CHILDREN = 3
TIMES = 40


def serve_often(for_user: ForUser) -> str:
    """Return all that was served, in four threads, each word once."""
    words = set()

    def serve() -> None:
        for _ in range(TIMES // 4):
            words.add(said(for_user(NAME, "ada")))

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = for_user.stats()
    return f"{','.join(map(str, words))} {stats.hits}+{stats.misses}"


def forked(here: Serving, for_user: ForUser) -> list[str]:
    """Serve in children and in their parent at once; return what each of them said."""
    pipes = []
    for _ in range(CHILDREN):
        out, into = os.pipe()
        if os.fork() == 0:
            os.write(into, serve_often(for_user).encode())
            os._exit(0)
        os.close(into)
        pipes.append(out)
    own = serve_often(for_user)
    told = [os.read(out, 1000).decode() for out in pipes]
    for _ in pipes:
        os.wait()
    return [own, *told]


def main(url: str, home: str) -> None:
    here = Serving(url, Path(home))
    # As the application has it: for each process the portal of that process.
    portals = {os.getpid(): here.portal}
    for_user = ForUser(
        lambda: portals.get(os.getpid()) or Serving(url, Path(home)).portal  # made in the child
    )
    for line in sys.stdin:
        asked = line.strip()
        if asked == "fork":
            answer = ";".join(forked(here, for_user))
        else:
            answer = str(said(for_user(NAME, asked)))
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
    here.portal.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

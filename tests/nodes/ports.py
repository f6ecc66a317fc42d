"""A free port for a server that cannot take one itself and tell which."""

import socket


def reserved() -> int:
    """Return a port of the loopback interface that the system gives nobody for a minute.

    A connection that its server has closed lingers on the server's port: so long, the port is
    in no draw of free ones. Servers may bind it all the same, as all do that set SO_REUSEADDR.
    """
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        address = listening.getsockname()
        with socket.create_connection(address) as caller:
            served, _ = listening.accept()
            served.close()  # first, or it would linger on the caller's port
            caller.recv(1)
    return int(address[1])

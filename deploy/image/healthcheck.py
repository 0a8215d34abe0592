"""Ends with 0 when the server of this container can serve, and with 1 when it cannot; HEALTHCHECK runs it."""

import os
import socket
import ssl
import sys

SECONDS = 4


def status(port: int, secure: bool) -> int:
    """The status of the answer of `/health/ready`. Raises OSError, ValueError or IndexError without one."""
    connection = socket.create_connection(("127.0.0.1", port), SECONDS)
    if secure:  # to itself: the name in the certificate is that of the outside
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    with connection, connection.makefile("rb") as answer:
        connection.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return int(answer.readline().split()[1])


def main() -> int:
    """The exit code."""
    secure = os.environ.get("HTTPS", "no").lower() not in ("", "no", "0", "false", "off")
    try:
        return status(int(os.environ.get("PORT") or 8000), secure or bool(os.environ.get("TLS_CERT"))) != 200
    except (OSError, ValueError, IndexError) as error:
        sys.stderr.write(f"/health/ready: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())

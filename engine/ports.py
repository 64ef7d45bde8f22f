"""Published ports: forward connections from a port of 127.0.0.1 to the port on which the container listens."""

from __future__ import annotations

import contextlib
import socket
import threading

from engine.errors import Refused


class Forward:
    """A published port, which is open until `close`."""

    def __init__(self, host: str, port: int, target: int) -> None:
        self._target = target
        self._door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._door.bind((host, port))
        except OSError as error:
            self._door.close()
            raise Refused(
                f"driver failed programming external connectivity: Error starting userland proxy: listen tcp4 "
                f"{host}:{port}: bind: {(error.strerror or str(error)).lower()}"
            ) from None
        self.port = int(self._door.getsockname()[1])
        self._door.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(caller,), daemon=True).start()

    def _pass(self, caller: socket.socket) -> None:
        with caller:
            try:
                container = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                return
            container.settimeout(None)
            with container:
                back = threading.Thread(target=_pump, args=(container, caller), daemon=True)
                back.start()
                _pump(caller, container)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)

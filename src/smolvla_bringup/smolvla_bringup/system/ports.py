# SPDX-License-Identifier: Apache-2.0
"""Which serial port the arm is on, by the rules of so100_hardware's tools."""

from __future__ import annotations

from pathlib import Path

from smolvla_bringup.system.options import SetupError

_PATTERNS = ("serial/by-id/*", "ttyACM*", "ttyUSB*")


def list_ports(dev: Path = Path("/dev")) -> list[str]:
    """Return the serial ports that an arm may be on, each once, by its most lasting name."""
    ports: dict[Path, str] = {}
    for pattern in _PATTERNS:
        for path in sorted(dev.glob(pattern)):
            ports.setdefault(path.resolve(), str(path))
    return list(ports.values())


def choose_port(given: str | None, dev: Path = Path("/dev")) -> str:
    """Return the whole path of the port `given`, or the only port there is.

    Raises:
        SetupError: there is no such port, none at all, or several.
    """
    if given:
        port = Path(given).expanduser().absolute()
        if not port.exists():
            raise SetupError(
                f"no such port {port}; plug the arm in, `smolvla arm scan` lists the ports"
            )
        return str(port)
    ports = list_ports(dev)
    if not ports:
        raise SetupError(
            "no serial port found; plug in the USB cable of the arm, give the port (port:=…), "
            "or choose hardware 'sim'"
        )
    if len(ports) > 1:
        raise SetupError(f"several serial ports found; choose one with port:= {', '.join(ports)}")
    return ports[0]

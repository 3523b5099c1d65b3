# SPDX-License-Identifier: Apache-2.0
"""The servo maker's own Python SDK takes the emulator for an arm (PyPI: feetech-servo-sdk)."""

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

scs = pytest.importorskip(
    "scservo_sdk", reason="the SDK is missing: pip install feetech-servo-sdk==1.0.0"
)

ROOT = Path(__file__).parents[3]
PLACES = [
    ROOT / "build/cpp/release/emulator/so100_emulator",
    ROOT / "build/cpp/release/so100_emulator",
    ROOT / "install/so100_hardware/lib/so100_hardware/so100_emulator",
]
IDS = range(1, 7)
BAUD = 1_000_000
ID, RETURN_DELAY, P_COEFFICIENT, HOMING_OFFSET = 5, 7, 21, 31
TORQUE_ENABLE, GOAL_POSITION, LOCK = 40, 42, 55
PRESENT_POSITION, PRESENT_LOAD, PRESENT_VOLTAGE, STATUS = 56, 60, 62, 65
BLOCK = 15  # bytes 56 to 70: all telemetry
OVERLOAD = 0x20


def find_emulator() -> Path:
    """Return the program, or skip the test where it was never built."""
    named = os.environ.get("SO100_EMULATOR")
    if named:
        assert Path(named).is_file(), f"SO100_EMULATOR names no file: {named}"
        return Path(named)
    for place in PLACES:
        if place.is_file():
            return place
    pytest.skip(f"so100_emulator is not built; looked at {', '.join(map(str, PLACES))}")


class Emulator:
    """The program, its port and its control socket."""

    def __init__(self, folder: Path, *options: str):
        self.eeprom = folder / "eeprom.json"
        control = folder / "control"
        self.link = folder / "port"
        self.process = subprocess.Popen(
            [
                find_emulator(),
                *("--control", control),
                *("--link", self.link),
                *("--eeprom", self.eeprom),
                *options,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.path = self.process.stdout.readline().strip()
        assert self.path, "the emulator ended at once"
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(str(control))

    def command(self, line: str):
        """Run a control command; return its data, if any."""
        self.control.sendall(line.encode() + b"\n")
        answer = ""
        while not answer.endswith("\n"):
            answer += self.control.recv(4096).decode()
        assert answer.startswith("ok"), answer
        return json.loads(answer[3:]) if answer[3:].startswith(("[", "{")) else None

    def wait_until(self, seen):
        """Wait until the statistics satisfy `seen`: the request has got there."""
        end = time.monotonic() + 60
        while not seen(self.command("stats")):
            assert time.monotonic() < end, self.command("stats")

    def stop(self) -> int:
        self.control.close()
        self.process.terminate()
        return self.process.wait(timeout=60)


@pytest.fixture
def emulator(tmp_path):
    running = Emulator(tmp_path)
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


@pytest.fixture
def port(emulator):
    handler = open_port(emulator.path)
    yield handler
    handler.closePort()


def open_port(path):
    handler = scs.PortHandler(str(path))

    def wait(_):
        # The SDK's own 34 ms are too few for a machine that is busy with other things.
        handler.setPacketTimeoutMillis(handler.patience_ms)

    handler.patience_ms = 10_000
    handler.setPacketTimeout = wait
    assert handler.openPort()
    assert handler.setBaudRate(BAUD)
    return handler


@contextmanager
def no_answer_expected(port):
    port.patience_ms = 40
    yield
    port.patience_ms = 10_000


@pytest.fixture
def sdk():
    return scs.PacketHandler(0)


def write1(sdk, port, servo, address, value):
    assert sdk.write1ByteTxRx(port, servo, address, value) == (scs.COMM_SUCCESS, 0)


def write2(sdk, port, servo, address, value):
    assert sdk.write2ByteTxRx(port, servo, address, value) == (scs.COMM_SUCCESS, 0)


def read1(sdk, port, servo, address):
    value, result, error = sdk.read1ByteTxRx(port, servo, address)
    assert (result, error) == (scs.COMM_SUCCESS, 0)
    return value


def read2(sdk, port, servo, address):
    value, result, error = sdk.read2ByteTxRx(port, servo, address)
    assert (result, error) == (scs.COMM_SUCCESS, 0)
    return value


def reader(sdk, port, address, size):
    group = scs.GroupSyncRead(port, sdk, address, size)
    for servo in IDS:
        assert group.addParam(servo)
    return group


def send_goals(sdk, port, goals):
    group = scs.GroupSyncWrite(port, sdk, GOAL_POSITION, 2)
    for servo, goal in goals.items():
        assert group.addParam(servo, [scs.SCS_LOBYTE(goal), scs.SCS_HIBYTE(goal)])
    assert group.txPacket() == scs.COMM_SUCCESS


def test_ping_finds_six_sts3215_and_nobody_else(sdk, port):
    for servo in IDS:
        assert sdk.ping(port, servo) == (777, scs.COMM_SUCCESS, 0)
    with no_answer_expected(port):
        assert sdk.ping(port, 7)[1] == scs.COMM_RX_TIMEOUT


def test_a_write_is_acknowledged_and_reads_back(sdk, port):
    write2(sdk, port, 3, GOAL_POSITION, 1234)
    assert read2(sdk, port, 3, GOAL_POSITION) == 1234
    assert read2(sdk, port, 4, GOAL_POSITION) == 2048


def test_reg_write_waits_for_action(sdk, port):
    goal = [scs.SCS_LOBYTE(1500), scs.SCS_HIBYTE(1500)]
    assert sdk.regWriteTxRx(port, 2, GOAL_POSITION, 2, goal) == (scs.COMM_SUCCESS, 0)
    assert read2(sdk, port, 2, GOAL_POSITION) == 2048
    assert sdk.action(port, scs.BROADCAST_ID) == scs.COMM_SUCCESS
    assert read2(sdk, port, 2, GOAL_POSITION) == 1500


def test_eeprom_keeps_only_what_was_written_unlocked(sdk, port, emulator):
    assert read1(sdk, port, 1, LOCK) == 1
    write1(sdk, port, 1, P_COEFFICIENT, 16)
    assert read1(sdk, port, 1, P_COEFFICIENT) == 16
    write1(sdk, port, 1, LOCK, 0)
    write1(sdk, port, 1, RETURN_DELAY, 0)
    write2(sdk, port, 1, HOMING_OFFSET, 0x800 | 100)  # sign bit 11: -100
    write1(sdk, port, 1, LOCK, 1)
    assert read2(sdk, port, 1, PRESENT_POSITION) == 2148
    emulator.command("reboot 1")
    assert read1(sdk, port, 1, P_COEFFICIENT) == 32
    assert read1(sdk, port, 1, RETURN_DELAY) == 0
    assert read2(sdk, port, 1, PRESENT_POSITION) == 2148
    assert emulator.stop() == 0
    saved = json.loads(emulator.eeprom.read_text())["servos"][0]
    assert (saved["Homing_Offset"], saved["P_Coefficient"]) == (-100, 32)
    assert not emulator.link.is_symlink()


def test_a_new_id_is_acknowledged_by_the_old_one(sdk, port):
    write1(sdk, port, 6, LOCK, 0)
    write1(sdk, port, 6, ID, 16)
    assert sdk.ping(port, 16) == (777, scs.COMM_SUCCESS, 0)


def test_the_arm_goes_where_it_is_told_and_tells_all_in_one_block(sdk, port):
    for servo in IDS:
        write1(sdk, port, servo, RETURN_DELAY, 0)
        write1(sdk, port, servo, TORQUE_ENABLE, 1)
    goals = {servo: 2048 + 60 * servo * (-1) ** servo for servo in IDS}
    send_goals(sdk, port, goals)
    block = reader(sdk, port, PRESENT_POSITION, BLOCK)
    for _ in range(300):
        assert block.txRxPacket() == scs.COMM_SUCCESS
        off = [abs(block.getData(i, PRESENT_POSITION, 2) - goals[i]) for i in IDS]
        if max(off) <= 12:  # gravity on three joints leaves up to 8 ticks
            break
        time.sleep(0.01)
    assert max(off) <= 12, off
    assert min(abs(goal - 2048) for goal in goals.values()) > 12
    for servo in IDS:
        assert 110 <= block.getData(servo, PRESENT_VOLTAGE, 1) <= 120
        assert block.getData(servo, STATUS, 1) == 0
    assert block.getData(2, PRESENT_LOAD, 2) & 0x3FF > 100  # holds the arm up


def test_a_sync_read_takes_the_time_of_the_wire(sdk, port):
    for servo in IDS:
        write1(sdk, port, servo, RETURN_DELAY, 0)
    block = reader(sdk, port, PRESENT_POSITION, BLOCK)
    start = time.perf_counter()
    for _ in range(20):
        assert block.txRxPacket() == scs.COMM_SUCCESS
    assert (time.perf_counter() - start) / 20 >= 140 * 10e-6  # 140 bytes of ten bits


def test_faults_on_demand_reach_the_client(sdk, port, emulator):
    emulator.command("drop 100 2")
    with no_answer_expected(port):
        assert sdk.ping(port, 2)[1] == scs.COMM_RX_TIMEOUT
    emulator.wait_until(lambda stats: stats["servos"][1]["dropped"] == 1)
    emulator.command("clear")
    emulator.command("bad-checksum 100 2")
    assert sdk.ping(port, 2)[1] == scs.COMM_RX_CORRUPT
    emulator.command("clear")
    emulator.command("overload 2")
    assert sdk.ping(port, 2) == (777, scs.COMM_SUCCESS, OVERLOAD)
    counts = emulator.command("stats")["servos"][1]
    assert (counts["dropped"], counts["bad_checksum"]) == (1, 1)


def test_the_port_serves_the_next_client_and_comes_back_when_plugged(sdk, emulator):
    for _ in range(2):
        port = open_port(emulator.path)
        assert sdk.ping(port, 1)[1] == scs.COMM_SUCCESS
        port.closePort()
    emulator.command("unplug")
    assert not emulator.link.exists()
    emulator.command("plug")
    port = open_port(emulator.link)
    assert sdk.ping(port, 1)[1] == scs.COMM_SUCCESS
    port.closePort()


def test_the_wrong_speed_is_not_understood(sdk, emulator):
    port = open_port(emulator.path)
    assert port.setBaudRate(115200)
    with no_answer_expected(port):
        assert sdk.ping(port, 1)[1] == scs.COMM_RX_TIMEOUT
    emulator.wait_until(lambda stats: stats["line"]["wrong_baud_bytes"] == 6)
    assert port.setBaudRate(BAUD)
    assert sdk.ping(port, 1)[1] == scs.COMM_SUCCESS
    port.closePort()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--help"], 0, "Usage: so100_emulator"),
        (["--linc", "x"], 2, "unknown argument '--linc'; did you mean '--link'? (see --help)"),
        (["--voltage", "26"], 2, "--voltage"),
        (["--firmware", "3"], 2, "as in 3.10 or 4=3.9"),
        (["--baud", "9600"], 2, "the servos know 1000000"),
        (["--ids", "1,x"], 2, "must be like 1-6 or 1,2,5"),
        (["--do", "fly"], 2, "unknown command 'fly'"),
        (["--link", "/no/such/folder/port"], 1, "cannot make the link"),
    ],
)
def test_exit_codes(options, code, text):
    done = subprocess.run(
        [find_emulator(), *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert text in done.stdout + done.stderr

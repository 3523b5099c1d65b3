// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"
#include "options.hpp"

namespace so100_hardware::emulator
{

std::string usage()
{
  const std::string head = R"(Usage: so100_emulator [options]

Serves the six STS3215 servos of an SO-100 on a pseudo-terminal, at wire speed. Its path is the
first line printed; open it as a serial port at 1000000 baud. Ends on Ctrl-C, SIGTERM or 'quit'.

The port
  --link PATH             symbolic link to the pseudo-terminal, removed at the end
  --no-timing             answer at once instead of at wire speed
  --any-baud              answer whatever baud rate the client has set
  --realtime              run with SCHED_FIFO where that is allowed, for exact times on a busy
                          machine

The servos (ID=VALUE sets one servo, VALUE all; the option may come several times)
  --ids 1,2,3,4,5,6       ids along the chain
  --baud [ID=]RATE        baud rate that the servos listen at (1000000)
  --model-number [ID=]N   model number (777)
  --firmware [ID=]X.Y     firmware version (3.10)
  --voltage VOLTS         supply (12.0)
  --gravity FACTOR        weight of the arm, 0 for none (1.0)
  --torque-on-holds       torque on makes the present position the goal; without this an old
                          goal is kept and the joint jumps to it
  --goal-enables-torque   a written goal switches the torque on
  --eeprom FILE           keep the EEPROMs in this file, so that a calibration survives

Faults from the start (see the commands below)
  --drop PERCENT  --corrupt PERCENT  --bad-checksum PERCENT  --truncate PERCENT
  --delay MS:PERCENT  --silent SERVO  --double ID  --block SERVO  --overload SERVO  --seed N
  --do COMMAND            any command below, as in --do "drop 5 3"; may come several times

Control
  --control PATH          Unix stream socket: a line in, a line out ("ok", "ok DATA", "error: …")

Commands (SERVO: an id, #N for the N-th of the chain, or all)
)";
  const std::string tail = R"(
Example
  so100_emulator --link /tmp/so100 --control /tmp/so100.control &
  python3 - <<'EOF'
  import socket
  control = socket.socket(socket.AF_UNIX)
  control.connect("/tmp/so100.control")
  control.sendall(b"push 2 1500\n")
  print(control.recv(4096).decode(), end="")
  EOF

Exit code: 0 after a clean end, 1 if the port, the socket or a file failed, 2 for wrong options.
)";
  return head + Commands::help() + tail;
}

}  // namespace so100_hardware::emulator

/**
 * A dataplane driver that programs nothing: it prints what the agent tells it, a line a message, and
 * reports every endpoint as up. A start for a driver of your own.
 *
 *   descriptor 3   ToDataplane, from the agent: 8 bytes of length, little-endian, then protobuf
 *   descriptor 4   FromDataplane, to the agent, in the same way
 */
import { createReadStream, writeSync } from "node:fs";
import type { ToDataplane } from "#calc";
import {
  FrameCutter,
  readToDataplane,
  StreamWriter,
  toDataplaneJson,
  type DriverMessage,
} from "#dataplane";

const STATUS_INTERVAL_MS = 30_000;
const MAX_MESSAGE_BYTES = 1 << 30;

const reports = new StreamWriter();

function report(message: DriverMessage): void {
  reports.addFromDriver(message);
  const bytes = reports.take();
  for (let at = 0; at < bytes.length;) at += writeSync(4, bytes, at);
}

function reportProcess(): void {
  const value = { isoTimestamp: new Date().toISOString(), uptime: process.uptime() };
  report({ case: "processStatusUpdate", value });
}

function print(message: ToDataplane, sequenceNumber: number): void {
  const { [message.case]: value } = toDataplaneJson(message);
  process.stdout.write(`${sequenceNumber} ${message.case} ${JSON.stringify(value)}\n`);
}

/** Here a driver would note what is wanted, and program it once it is in sync. */
function act(message: ToDataplane): void {
  const status = { status: "up" };
  switch (message.case) {
    case "workloadEndpointUpdate":
      report({ case: "workloadEndpointStatusUpdate", value: { id: message.value.id, status } });
      break;
    case "workloadEndpointRemove":
      report({ case: "workloadEndpointStatusRemove", value: { id: message.value.id } });
      break;
    case "hostEndpointUpdate":
      report({ case: "hostEndpointStatusUpdate", value: { id: message.value.id, status } });
      break;
    case "hostEndpointRemove":
      report({ case: "hostEndpointStatusRemove", value: { id: message.value.id } });
      break;
    case "inSync":
      report({ case: "dataplaneInSync", value: {} });
      break;
    default:
  }
}

reportProcess();
setInterval(reportProcess, STATUS_INTERVAL_MS);
const cutter = new FrameCutter(MAX_MESSAGE_BYTES);
for await (const chunk of createReadStream("", { fd: 3 })) {
  for (const frame of cutter.push(chunk as Buffer)) {
    const { message, sequenceNumber, unknownPayload } = readToDataplane(frame);
    if (message === undefined) {
      process.stdout.write(`${sequenceNumber} unknown message, field ${unknownPayload}\n`);
      continue;
    }
    print(message, sequenceNumber);
    act(message);
  }
}
// The agent has closed its end.
process.exit(0);

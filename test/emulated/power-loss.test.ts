/** The plug is pulled on a machine whose embedded store is being written to. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { EmulatedMachine, makeDisk } from "../support/emulated-machine.ts";

const LOSSES = process.env["MARGAY_TEST_LONG"] === undefined ? 1 : 8;
const WRITES = 100;
const MIB = 2 ** 20;
const WRITER = fileURLToPath(new URL("inside/writer.ts", import.meta.url));
const READER = fileURLToPath(new URL("inside/reader.ts", import.meta.url));
const node = `${process.execPath} --disable-warning=ExperimentalWarning`;

/** The kernel writes nothing back by itself: what survives is what was synchronised. */
const MOUNT = `
  modprobe -a virtio_blk ext4
  echo 360000 >/proc/sys/vm/dirty_expire_centisecs
  echo 0 >/proc/sys/vm/dirty_writeback_centisecs
  mkdir -p /run/disk`;

describe("power loss", () => {
  it(`${LOSSES} time${LOSSES === 1 ? "" : "s"}: the embedded store has every acknowledged write`, async (t) => {
    const dir = mkdtempSync(join(tmpdir(), "mgy-power-"));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const disk = join(dir, "disk");
    makeDisk(disk, 64 * MIB);
    const acknowledged = new Map<string, number>();
    for (let loss = 0; loss < LOSSES; loss++) {
      await writeUntilLoss(disk, loss, acknowledged);
      const stored = await readBack(disk);
      for (const [key, value] of acknowledged) {
        assert.ok(
          Number(stored[key]) >= value,
          `${key}: ${stored[key]}, ${value} was acknowledged`,
        );
      }
    }
  });
});

async function writeUntilLoss(
  disk: string,
  loss: number,
  acknowledged: Map<string, number>,
): Promise<void> {
  const machine = new EmulatedMachine({
    disk,
    command: `set -e
      ${MOUNT}
      ${loss === 0 ? "mkfs.ext4 -q /dev/vda && sync" : ""}
      mount -o commit=300 /dev/vda /run/disk
      ${node} ${WRITER} /run/disk/store /run/shared/acknowledged ${loss * 1e6}`,
  });
  try {
    const lines = () => machine.read("acknowledged").split("\n").slice(0, -1);
    while (lines().length < WRITES && machine.read("code") === "") await sleep(20);
    if (machine.read("code") !== "") await machine.output();
    await machine.pullThePlug();
    for (const line of lines()) {
      const [key = "", value] = line.split(" ");
      acknowledged.set(key, Number(value));
    }
    assert.ok(acknowledged.size >= 50, `${acknowledged.size} keys`);
  } finally {
    await machine.close();
  }
}

async function readBack(disk: string): Promise<Record<string, string>> {
  const machine = new EmulatedMachine({
    disk,
    command: `set -e
      ${MOUNT}
      mount /dev/vda /run/disk
      ${node} ${READER} /run/disk/store
      umount /run/disk`,
  });
  try {
    return JSON.parse(await machine.output()) as Record<string, string>;
  } finally {
    await machine.close();
  }
}

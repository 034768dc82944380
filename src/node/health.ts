/**
 * Probes as of calico-node: `-felix-live`, `-bird-ready` and the like, any of them together. They ask
 * what runs here, never the datastore: a node must not be restarted since etcd is away.
 */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { bgpSessions, birdCommand } from "#confd";
import { messageOf } from "#std";
import { badSetting, text, type Environment } from "./environment.ts";
import type { Probe } from "./modes.ts";
import { readService } from "./runit.ts";
import { enabledDir } from "./services.ts";

export interface HealthWorld {
  readonly env: Environment;
  readonly serviceDir: string;
  readonly runDir: string;
  /** Its age is how long this node has been up. */
  readonly nodenameFile: string;
  /** While the node is younger, every peer must be there; afterwards one. */
  readonly thresholdMs: number;
  readonly nowMs: number;
}

/** What is wrong, one line each; empty when all is well. */
export async function probe(wanted: readonly Probe[], world: HealthWorld): Promise<string[]> {
  const faults = await Promise.all(
    wanted.map(async (name) => {
      try {
        await PROBE[name](world);
        return [];
      } catch (error) {
        return [`calico/node is not ready: ${FAULT[name]}: ${messageOf(error)}`];
      }
    }),
  );
  return faults.flat();
}

const FAULT: Readonly<Record<Probe, string>> = {
  "felix-live": "Felix is not live",
  "felix-ready": "felix is not ready",
  "bird-live": "bird/confd is not live",
  "bird6-live": "bird6/confd is not live",
  "bird-ready": "BIRD is not ready",
  "bird6-ready": "BIRD6 is not ready",
};

const PROBE: Readonly<Record<Probe, (world: HealthWorld) => Promise<void>>> = {
  "felix-live": (world) => askFelix(world, "liveness"),
  "felix-ready": (world) => askFelix(world, "readiness"),
  "bird-live": (world) => birdLives(world, "bird"),
  "bird6-live": (world) => birdLives(world, "bird6"),
  "bird-ready": (world) => birdIsReady(world, "bird"),
  "bird6-ready": (world) => birdIsReady(world, "bird6"),
};

async function askFelix({ env, thresholdMs }: HealthWorld, what: string): Promise<void> {
  const host = text(env, "FELIX_HEALTHHOST") ?? "localhost";
  const port = text(env, "FELIX_HEALTHPORT") ?? "9099";
  if (!/^\d{1,5}$/.test(port)) throw badSetting("FELIX_HEALTHPORT", port, "a port number");
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}/${what}`;
  const signal = AbortSignal.timeout(thresholdMs);
  const answer = await fetch(url, { signal }).catch((error: unknown) => {
    const { cause } = error as { readonly cause?: unknown };
    throw new Error(`${url}: ${messageOf(cause ?? error)}`);
  });
  if (answer.ok) return;
  throw new Error(`${what} probe reporting ${answer.status}: ${(await answer.text()).trim()}`);
}

type BirdName = "bird" | "bird6";

async function birdLives({ serviceDir, runDir }: HealthWorld, name: BirdName): Promise<void> {
  const enabled = enabledDir(serviceDir);
  for (const service of ["confd", name]) {
    // Where others supervise them, the socket alone tells.
    if (!existsSync(join(enabled, service))) continue;
    const { state } = readService(enabled, service);
    if (state !== "run") throw new Error(`the service ${service} is not running (${state})`);
  }
  await birdCommand(join(runDir, `${name}.ctl`), "show status");
}

/** At first all peers, so that an upgrade waits for BGP; later one, since other nodes may be down. */
async function birdIsReady(world: HealthWorld, name: BirdName): Promise<void> {
  const socket = join(world.runDir, `${name}.ctl`);
  const sessions = await bgpSessions(socket);
  const missing = sessions.filter(({ bgpState }) => bgpState !== "Established");
  const isYoung = world.nowMs - upSinceMs(world.nodenameFile) < world.thresholdMs;
  if (missing.length > 0 && (isYoung || missing.length === sessions.length)) {
    throw new Error(
      `BGP not established with ${missing.map(({ neighbor }) => neighbor).join(",")}`,
    );
  }
  if (!isYoung) return;
  const status = await birdCommand(socket, "show status");
  if (status.some((line) => line.text.includes("Graceful restart recovery in progress"))) {
    throw new Error("graceful restart in progress");
  }
}

function upSinceMs(file: string): number {
  try {
    return statSync(file).mtimeMs;
  } catch {
    throw new Error(`${file} is not there: margay node -startup has not run`);
  }
}

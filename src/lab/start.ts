/** From nothing to a world that runs: the order in which things are started, and what each waits for. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { embeddedSocketPath } from "#datastore";
import { systemError } from "#std";
import { LAB_DIR, STORE_DIR } from "./names.ts";
import type { World } from "./world.ts";

/** /run becomes a tmpfs of this mount namespace: namespaces' names, sockets, logs and the store live there. */
export function privateRun(): void {
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"], {
    encoding: "utf8",
  });
  if (mounted.status !== 0)
    throw systemError("lab-sandbox", `mount tmpfs on /run: ${mounted.stderr.trim()}`);
  mkdirSync(LAB_DIR, { recursive: true, mode: 0o700 });
  mkdirSync("/run/netns", { recursive: true });
}

/** `step` hears what is being done. */
export async function startWorld(world: World, step: (text: string) => void): Promise<void> {
  step("starting the datastore");
  world.startStore();
  await world.until(() => storeAnswers(world), "the datastore does not answer");
  step("applying the resources");
  await world.applyResources();
  step("giving workloads their addresses");
  await world.writeEndpoints(await world.placeWorkloads(world.spec.workloads, true));
  step("starting hosts and routers");
  await Promise.all([world.startRouters(), ...world.hosts.map((host) => world.startHost(host))]);
}

async function storeAnswers(world: World): Promise<boolean> {
  // Nobody may open the embedded store before its server: who comes first owns it.
  if (world.spec.etcdMembers === 0 && !existsSync(embeddedSocketPath(STORE_DIR))) return false;
  const store = await world.openStore();
  return store.get("/lab").then(
    () => true,
    () => false,
  );
}

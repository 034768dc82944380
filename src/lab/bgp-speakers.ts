/**
 * Routers that speak BGP: FRR, whose zebra puts what it learns into the router's kernel, or GoBGP, which
 * only speaks. Both take sessions from any host of their subnets, and announce what the file says, from
 * the router's loopback. FRR's own tools: `lab exec ROUTER -- vtysh --vty_socket /run/margay/frr/ROUTER`.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { parseCidr } from "#ip";
import { systemError } from "#std";
import { ipBatch } from "./ip-tool.ts";
import { bareAddress, isIpv6, LAB_DIR, netnsOf, netnsPath, single } from "./names.ts";
import type { LabProcesses } from "./processes.ts";
import { networksOf } from "./spec-checks.ts";
import type { LabRouter } from "./spec.ts";
import { addAddress } from "./wires.ts";

type Bgp = NonNullable<LabRouter["bgp"]>;

const FRR_DAEMONS = "/usr/lib/frr";
const GOBGP_API = "127.0.0.1:50051";
const API_TIMEOUT_MS = 15_000;

/** The programs that the file's routers need. */
export const SPEAKER_PROGRAMS: Readonly<Record<Bgp["daemon"], readonly [string, string]>> = {
  frr: [`${FRR_DAEMONS}/bgpd`, "frr"],
  gobgp: ["gobgpd", "gobgpd"],
};

export async function startSpeaker(processes: LabProcesses, router: LabRouter): Promise<void> {
  const { bgp } = router;
  if (bgp === undefined) return;
  const own = router.addresses.slice(0, bgp.announces.length);
  ipBatch(
    netnsOf(router.name),
    own.map((address) => addAddress(single(address), "lo")),
  );
  if (bgp.daemon === "frr") startFrr(processes, router, bgp);
  else await startGobgp(processes, router, bgp);
}

function networks(router: LabRouter): string[] {
  return router.links.flatMap((link) => networksOf(router, link.subnet));
}

function routerId(router: LabRouter): string {
  const own = router.links.flatMap((link) => link.addresses).find((address) => !isIpv6(address));
  return own === undefined ? "192.0.2.1" : bareAddress(own);
}

function inRouter(router: LabRouter, ...argv: readonly string[]): string[] {
  return ["nsenter", `--net=${netnsPath(router.name)}`, "--", ...argv];
}

function startFrr(processes: LabProcesses, router: LabRouter, bgp: Bgp): void {
  const directory = `${LAB_DIR}/frr/${router.name}`;
  mkdirSync(directory, { recursive: true });
  const config = `${directory}/frr.conf`;
  writeFileSync(config, frrConfig(router, bgp));
  const groups = `${directory}/group`;
  writeFileSync(groups, "root:x:0:\nfrrvty:x:0:root\n");
  for (const daemon of ["zebra", "bgpd"]) {
    const argv = inRouter(router, ...privately(groups), `${FRR_DAEMONS}/${daemon}`);
    argv.push("-u", "root", "-g", "root", "-P", "0", "-f", config, "--log", "stdout");
    argv.push("-i", `${directory}/${daemon}.pid`, "-z", `${directory}/zserv.api`);
    argv.push("--vty_socket", directory);
    processes.start({ machine: router.name, process: daemon, argv, env: {} });
  }
}

/**
 * FRR insists on a user of the group frrvty, and leaves files in /var/tmp. In the lab there is only root,
 * and nothing stays behind: so both are the daemon's own.
 */
function privately(groups: string): string[] {
  const script = `mount --bind ${groups} /etc/group && mount -t tmpfs tmpfs /var/tmp && exec "$@"`;
  return ["unshare", "-m", "sh", "-c", script, "sh"];
}

function frrConfig(router: LabRouter, bgp: Bgp): string {
  const remote = bgp.peerAsNumber === bgp.asNumber ? "internal" : "external";
  const lines = [
    "frr defaults traditional",
    `hostname ${router.name}`,
    `router bgp ${bgp.asNumber}`,
    ` bgp router-id ${routerId(router)}`,
    " no bgp ebgp-requires-policy",
    " no bgp network import-check",
    " no bgp default ipv4-unicast",
    " bgp graceful-restart",
  ];
  for (const family of [4, 6] as const) {
    lines.push(
      ` neighbor HOSTS${family} peer-group`,
      ` neighbor HOSTS${family} remote-as ${remote}`,
    );
    for (const network of networks(router).filter((one) => isIpv6(one) === (family === 6)))
      lines.push(` bgp listen range ${network} peer-group HOSTS${family}`);
  }
  for (const family of [4, 6] as const) {
    lines.push(` address-family ipv${family} unicast`);
    for (const prefix of bgp.announces)
      if (parseCidr(prefix).family === family) lines.push(`  network ${prefix}`);
    lines.push(`  neighbor HOSTS${family} activate`, " exit-address-family");
  }
  return `${lines.join("\n")}\n`;
}

async function startGobgp(processes: LabProcesses, router: LabRouter, bgp: Bgp): Promise<void> {
  const directory = `${LAB_DIR}/gobgp/${router.name}`;
  mkdirSync(directory, { recursive: true });
  const config = `${directory}/gobgpd.toml`;
  writeFileSync(config, gobgpConfig(router, bgp));
  const argv = inRouter(
    router,
    "gobgpd",
    "-f",
    config,
    "--api-hosts",
    GOBGP_API,
    "--pprof-disable",
  );
  processes.start({ machine: router.name, process: "gobgpd", argv, env: {} });
  for (const prefix of bgp.announces) {
    const family = isIpv6(prefix) ? "ipv6" : "ipv4";
    await gobgp(router, ["global", "rib", "add", prefix, "-a", family]);
  }
}

/** Until the API answers. */
async function gobgp(router: LabRouter, args: readonly string[]): Promise<void> {
  const [program = "", ...rest] = inRouter(router, "gobgp", ...args);
  const deadline = performance.now() + API_TIMEOUT_MS;
  for (;;) {
    const { status, stderr, stdout } = spawnSync(program, rest, { encoding: "utf8" });
    if (status === 0) return;
    if (performance.now() > deadline)
      throw systemError("lab-gobgp", `gobgp ${args.join(" ")}: ${stderr}${stdout}`);
    await delay(100);
  }
}

function gobgpConfig(router: LabRouter, bgp: Bgp): string {
  const lines = ["[global.config]", `as = ${bgp.asNumber}`, `router-id = "${routerId(router)}"`];
  for (const family of [4, 6] as const) {
    lines.push(
      "[[peer-groups]]",
      `[peer-groups.config]\npeer-group-name = "hosts${family}"\npeer-as = ${bgp.peerAsNumber}`,
      "[peer-groups.graceful-restart.config]\nenabled = true\nrestart-time = 120",
      `[[peer-groups.afi-safis]]\n[peer-groups.afi-safis.config]\nafi-safi-name = "ipv${family}-unicast"`,
    );
  }
  for (const network of networks(router)) {
    const group = `hosts${isIpv6(network) ? 6 : 4}`;
    lines.push(
      `[[dynamic-neighbors]]\n[dynamic-neighbors.config]\nprefix = "${network}"\npeer-group = "${group}"`,
    );
  }
  return `${lines.join("\n")}\n`;
}

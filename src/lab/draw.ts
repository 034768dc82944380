/** A lab's state as text: topology, sessions, routes. Pure. */
import type { LabStatus } from "./control.ts";
import { bareAddress, MANAGEMENT } from "./names.ts";
import type { HostView } from "./observe.ts";
import type { Wire } from "./wires.ts";

/** Subnets and who is on them, with each host's workloads; what does not run, and what is cut. */
function drawTopology(status: LabStatus): string[] {
  const wires = status.wires.filter((wire) => wire.subnet !== MANAGEMENT);
  const width = Math.max(...wires.map((wire) => wire.station.length));
  const lines = [...new Set(wires.map((wire) => wire.subnet))].flatMap((subnet) => {
    const own = wires.filter((wire) => wire.subnet === subnet);
    return own.map((wire, index) => {
      const branch =
        own.length === 1 ? "─" : index === 0 ? "┬" : index < own.length - 1 ? "├" : "└";
      const head = index === 0 ? `${subnet} ─` : " ".repeat(subnet.length + 2);
      return `${head}${branch}─ ${wire.station.padEnd(width)}  ${wireText(wire)}`;
    });
  });
  return [...lines, ...managementLine(status), ...workloadLines(status), ...endedLines(status)];
}

/** Whose addresses matter to nobody. */
function managementLine({ wires }: LabStatus): string[] {
  const own = wires.filter((wire) => wire.subnet === MANAGEMENT);
  if (own.length === 0) return [];
  return [`${MANAGEMENT} ── ${own.map((one) => one.station + (one.up ? "" : " CUT")).join(", ")}`];
}

function wireText(wire: Wire): string {
  const facts = [
    wire.addresses.map(bareAddress).join(" "),
    ...(wire.lossPercent === 0 ? [] : [`loss ${wire.lossPercent} %`]),
    ...(wire.rateBytes === undefined ? [] : [`${(wire.rateBytes * 8) / 1e6} Mbit/s`]),
    ...(wire.up ? [] : ["CUT"]),
  ];
  return facts.join("  ");
}

/** More than these of a host are only counted. */
const MOST_WORKLOADS = 6;

function workloadLines({ peers }: LabStatus): string[] {
  const hosts = [...new Set(peers.flatMap((peer) => peer.host ?? []))];
  return hosts.map((host) => {
    const all = peers.filter((peer) => peer.host === host);
    const some = all
      .slice(0, MOST_WORKLOADS)
      .map((peer) => `${peer.name} ${peer.addresses.map(bareAddress).join(" ")}`);
    const rest = all.length > some.length ? [`and ${all.length - some.length} more`] : [];
    return `${host}: ${[...some, ...rest].join(", ")}`;
  });
}

function endedLines({ processes }: LabStatus): string[] {
  return processes
    .filter((one) => one.pid === undefined)
    .map(
      (one) =>
        `${one.process} of ${one.machine} does not run (${one.ended ?? "?"}): lab heal ${one.machine}`,
    );
}

/** How many sessions of each family are Established, and which are not. */
function drawSessions(hosts: readonly HostView[]): string[] {
  const width = Math.max(...hosts.map((host) => host.name.length));
  return hosts.map(({ name, sessions }) => {
    const counts = ([4, 6] as const).map((family) => {
      const all = sessions.filter((one) => one.family === family);
      const up = all.filter((one) => one.established);
      return `IPv${family} ${up.length} of ${all.length}`;
    });
    const bad = sessions.filter((one) => !one.established).map((one) => `${one.name} ${one.info}`);
    return `${name.padEnd(width)}  ${[...counts, ...bad].join("   ")}`;
  });
}

/** What leads to other hosts' workloads; more than these of a host are only counted. */
const MOST_ROUTES = 8;

function drawRoutes(hosts: readonly HostView[]): string[] {
  const width = Math.max(...hosts.map((host) => host.name.length));
  const target = Math.max(
    0,
    ...hosts.flatMap((host) => host.routes.map((route) => route.to.length)),
  );
  return hosts.flatMap(({ name, routes }) => {
    const lines = routes
      .slice(0, MOST_ROUTES)
      .map(
        (route) => `${route.to.padEnd(target)} via ${route.via} dev ${route.device} (${route.by})`,
      );
    if (routes.length > lines.length) lines.push(`and ${routes.length - lines.length} more`);
    return lines.map((line, index) => `${(index === 0 ? name : "").padEnd(width)}  ${line}`);
  });
}

/**
 * Under their headings, in so many lines: routes are shortened first, then the topology goes, and what is
 * left out is said. A lab of one host has nothing to tell here.
 */
export function drawNetwork(status: LabStatus, room = Number.POSITIVE_INFINITY): string[] {
  if (status.hosts.length < 2) return [];
  const topology = ["TOPOLOGY", ...drawTopology(status), ""];
  const sessions = ["SESSIONS Established", ...drawSessions(status.hosts), ""];
  const routes = ["ROUTES to other hosts", ...drawRoutes(status.hosts), ""];
  const withSessions = sessions.length + NOTE.length <= room;
  const withTopology = withSessions && topology.length + sessions.length + NOTE.length <= room;
  const shown = [...(withTopology ? topology : []), ...(withSessions ? sessions : [])];
  const left = room - shown.length;
  if (withTopology && routes.length <= left) return [...shown, ...routes];
  return [...shown, ...routes.slice(0, Math.max(0, left - NOTE.length)), ...NOTE];
}

const NOTE = ["… more: margay lab status", ""];

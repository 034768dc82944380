/** What the lab sees of a host without touching it: BIRD's sessions and the routes to other hosts' workloads. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { bgpSessions } from "#confd";
import { birdSocket } from "./host.ts";
import { netnsOf } from "./names.ts";

const run = promisify(execFile);

interface SessionView {
  readonly family: 4 | 6;
  /** BIRD's name of it. */
  readonly name: string;
  readonly established: boolean;
  /** BIRD's word on it. */
  readonly info: string;
  readonly imported: number;
  readonly exported: number;
}

interface RouteView {
  readonly to: string;
  /** Absent for a blackhole or a directly connected one. */
  readonly via?: string;
  readonly device: string;
  readonly by: "bird" | "felix";
}

export interface HostView {
  readonly name: string;
  readonly sessions: readonly SessionView[];
  readonly routes: readonly RouteView[];
}

export async function observeHost(name: string): Promise<HostView> {
  const parts = await Promise.all(
    ([4, 6] as const).map(async (family) => ({
      sessions: await sessionsOf(name, family),
      routes: await routesOf(name, family),
    })),
  );
  return {
    name,
    sessions: parts.flatMap((part) => part.sessions),
    routes: parts.flatMap((part) => part.routes),
  };
}

async function sessionsOf(host: string, family: 4 | 6): Promise<SessionView[]> {
  try {
    const sessions = await bgpSessions(birdSocket(host, family));
    return sessions.map(({ name, state, info, imported, exported }) => ({
      family,
      name,
      established: state === "up",
      info,
      imported,
      exported,
    }));
  } catch {
    // BIRD does not run: that is what the view shows.
    return [];
  }
}

/** `RTPROT_BIRD` and Felix's own number (uapi/linux/rtnetlink.h). */
const OWNERS: Readonly<Record<string, "bird" | "felix">> = {
  bird: "bird",
  "12": "bird",
  "80": "felix",
};

interface KernelRoute {
  readonly dst: string;
  readonly type?: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly protocol?: string;
}

/** Those that lead to other hosts. */
async function routesOf(host: string, family: 4 | 6): Promise<RouteView[]> {
  try {
    const argv = ["-j", `-${family}`, "-n", netnsOf(host), "route", "show"];
    const { stdout } = await run("ip", argv);
    return (JSON.parse(stdout === "" ? "[]" : stdout) as KernelRoute[]).flatMap((route) => {
      const by = OWNERS[route.protocol ?? ""];
      if (by === undefined || route.gateway === undefined) return [];
      return [{ to: route.dst, via: route.gateway, device: route.dev ?? "", by }];
    });
  } catch {
    // The host is being removed.
    return [];
  }
}

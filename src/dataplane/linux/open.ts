/** Puts the Linux dataplane together on the kernel of the calling thread's network namespace. */
import { logger } from "#log";
import { openConntrack, openNftTable, openRouteKernel } from "#netlink";
import type { LinuxDataplaneConfig } from "./config.ts";
import { LinuxDataplane } from "./linux-dataplane.ts";
import { PolicyCompiler } from "./nft/compiler.ts";
import { Sysctls } from "./sysctls.ts";

/** Opens sockets; reads and writes nothing yet. Throws a system error without CAP_NET_ADMIN. */
export function openLinuxDataplane(config: LinuxDataplaneConfig): LinuxDataplane {
  const table = openNftTable({
    family: "inet",
    name: config.tableName,
    log: logger("netlink.nft"),
  });
  return new LinuxDataplane({
    config,
    table,
    compiler: new PolicyCompiler(config.policy, table),
    kernel: openRouteKernel(),
    conntrack: openConntrack(),
    sysctls: new Sysctls(config.policy.ipv6Support),
    nowMs: () => performance.now(),
    random: Math.random,
  });
}

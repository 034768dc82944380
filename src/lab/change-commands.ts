/** `margay lab kill|cut|heal|add-host|remove-host|add-workloads`: orders to a lab that runs. */
import type { Command } from "commander";
import { inputError } from "#std";
import { askLab, type ControlRequest } from "./control.ts";
import { findLab } from "./running.ts";
import type { LabHost } from "./spec.ts";
import { parseListen } from "./spec-schema.ts";
import type { PlacedWorkload } from "./world.ts";

interface Flags {
  readonly lab?: string;
}

export function addChanges(program: Command): void {
  change(program, "kill", "SIGKILL for a process, or a whole machine with its links")
    .argument("<machine>", "a host, a router, etcd-1, …, or datastore")
    .argument("[process]", "felix, confd, bird, …; default: all of the machine")
    .action(async (machine: string, name: string | undefined, { lab }: Flags) => {
      const named = name === undefined ? {} : { process: name };
      say("killed", (await order(lab, { op: "kill", machine, ...named })) as string[]);
    });
  change(program, "cut", "cut a link: carrier lost at once, on both ends")
    .argument(
      "<link>",
      "NAME/SUBNET, or NAME for all of its links to subnets; NAME/mgmt leads to etcd",
    )
    .action(async (name: string, { lab }: Flags) => {
      say("cut", (await order(lab, { op: "cut", name })) as string[]);
    });
  change(program, "heal", "mend what was cut, start what was killed")
    .argument("<name>", "a link, or a machine with all its links and processes")
    .action(async (name: string, { lab }: Flags) => {
      say("healed", (await order(lab, { op: "heal", name })) as string[]);
    });
  change(program, "add-host", "a new host on a subnet, at its first free addresses")
    .argument("<name>", "its name")
    .argument("<subnet>", "of the lab file")
    .action(async (name: string, subnet: string, { lab }: Flags) => {
      const host = (await order(lab, { op: "add-host", name, subnet })) as LabHost;
      say("added", [name, ...host.addresses]);
    });
  change(program, "remove-host", "end a host for good; its addresses and blocks are free again")
    .argument("<name>", "a host")
    .action(async (name: string, { lab }: Flags) => {
      await order(lab, { op: "remove-host", name });
      say("removed", [name]);
    });
  change(program, "add-workloads", "workloads on a host, addresses from IPAM, all at once")
    .argument("<host>", "a host")
    .argument("<count>", "how many")
    .option("--listen <port>", "tcp:PORT or udp:PORT; then they are in the matrix")
    .action(async (host: string, text: string, { lab, listen }: Flags & { listen?: string }) => {
      const count = Number(text);
      if (!Number.isInteger(count) || count < 1 || count > 1000)
        throw inputError("bad-value", `${text}: a number from 1 to 1000`);
      const ports = listen === undefined ? [] : [parseListen(listen)];
      const request = { op: "add-workloads", host, count, listen: ports } as const;
      const added = (await order(lab, request)) as PlacedWorkload[];
      for (const one of added) process.stdout.write(`${[one.name, ...one.addresses].join(" ")}\n`);
    });
}

function change(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option("--lab <name>", "the lab, if several run");
}

function order(lab: string | undefined, request: ControlRequest): Promise<unknown> {
  return askLab(findLab(lab), request);
}

function say(done: string, what: readonly string[]): void {
  process.stdout.write(`${done}: ${what.length === 0 ? "nothing" : what.join(" ")}\n`);
}

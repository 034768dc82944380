/**
 * What policy costs a connection: TCP connect, request, answer, close, and UDP packets that are each
 * judged as a new flow, between two of 1,000 pods of one host, through veth and namespaces. The rulesets
 * are those that the whole agent programs; no rules, 10 and 100 policies of 10 rules take turns.
 */
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../test/support/sandbox.ts";
import type { Figure, Suite } from "./support/figures.ts";

const INSIDE = fileURLToPath(new URL("connect/inside.ts", import.meta.url));

export const suite: Suite = {
  title: "Connections through policy (medians of interleaved rounds; beside: no rules)",
  run: () => runInSandbox<readonly Figure[]>(INSIDE, {}),
};
